"""Deep clustering: an embedding is learned together with the clusters in it."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "_contrastive_encoder": ["ContrastiveEncoder"],
        "_settings": ["NetworkSettings", "OptimizerSettings"],
        "_deep_embedded": ["DeepEmbeddedClustering"],
        "_deep_kmeans": ["DeepKMeans"],
        "_label_augmentation": ["LabelAugmentationClassifier"],
        "_manifold_linearizing": ["ManifoldLinearizingClustering"],
        "_neighbor_embedding": ["NeighborEmbeddingClustering"],
        "_prototype_clustering": ["PrototypeClustering"],
        "_variational": ["VariationalDeepEmbedding"],
    },
)
