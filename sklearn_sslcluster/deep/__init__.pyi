from ._contrastive_encoder import ContrastiveEncoder
from ._deep_embedded import DeepEmbeddedClustering
from ._deep_kmeans import DeepKMeans
from ._label_augmentation import LabelAugmentationClassifier
from ._manifold_linearizing import ManifoldLinearizingClustering
from ._neighbor_embedding import NeighborEmbeddingClustering
from ._prototype_clustering import PrototypeClustering
from ._settings import NetworkSettings, OptimizerSettings
from ._variational import VariationalDeepEmbedding

__all__ = [
    "ContrastiveEncoder",
    "DeepEmbeddedClustering",
    "DeepKMeans",
    "LabelAugmentationClassifier",
    "ManifoldLinearizingClustering",
    "NeighborEmbeddingClustering",
    "NetworkSettings",
    "OptimizerSettings",
    "PrototypeClustering",
    "VariationalDeepEmbedding",
]
