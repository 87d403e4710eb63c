"""Everything torch: networks, objectives and the one training loop. Learned weights leave as numpy arrays.

Only ``collapse``, ``estimator``, ``inference``, ``rows`` and ``settings`` load without torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "clustering_objectives": ["DeepEmbedding", "DeepMeans"],
        "coding_rate": ["RateReduction", "RateSettings", "TotalRate", "build_rate_network"],
        "collapse": ["SMALLEST_SHARE", "has_collapsed"],
        "discovery_networks": ["build_projection", "build_tabular"],
        "discovery_objectives": [
            "ClassifiedReconstruction",
            "Columns",
            "ConsistencySettings",
            "DiscoveryHeads",
            "MaskedReconstruction",
            "place_head",
        ],
        "estimator": ["NeuralMixin"],
        "inference": ["apply_layers", "standardize"],
        "neighbor_embedding": ["EmbeddingDistillation", "MapTargets", "build_map"],
        "networks": ["build_autoencoder", "build_decoder", "build_encoder", "build_head", "export_layers"],
        "objectives": ["Batch", "Objective", "Reconstruction", "check_objective"],
        "phases": ["Phase", "Trained", "TrainingSettings"],
        "rows": ["training_rows"],
        "settings": ["NetworkSettings", "OptimizerSettings"],
        "training": ["Trainer"],
        "variational": [
            "ColumnLikelihood",
            "InputKinds",
            "VariationalMixture",
            "VariationalReconstruction",
            "build_variational_network",
        ],
    },
)
