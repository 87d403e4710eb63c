from ._certificate import certify_kmeans
from ._ladder import CertificateSettings, KMeansCertificate
from ._likelihood_adjusted import LikelihoodAdjustedSDP
from ._sdp_kmeans import SDPKMeans
from ._sketch_and_lift import SketchAndLiftKMeans

__all__ = [
    "CertificateSettings",
    "KMeansCertificate",
    "LikelihoodAdjustedSDP",
    "SDPKMeans",
    "SketchAndLiftKMeans",
    "certify_kmeans",
]
