"""Semidefinite clustering: relaxations of k-means, their solvers, and certificates of how good a clustering is."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "_certificate": ["certify_kmeans"],
        "_ladder": ["CertificateSettings", "KMeansCertificate"],
        "_likelihood_adjusted": ["LikelihoodAdjustedSDP"],
        "_sdp_kmeans": ["SDPKMeans"],
        "_sketch_and_lift": ["SketchAndLiftKMeans"],
    },
)
