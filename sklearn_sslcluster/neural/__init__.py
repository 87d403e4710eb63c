"""Everything torch: networks, objectives and the one training loop. Learned weights leave as numpy arrays.

Only ``collapse``, ``estimator``, ``inference``, ``rows``, ``settings`` and ``tables`` load without torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "classification": ["AugmentationWeights", "LabelAugmentation", "build_classifier"],
        "clustering_objectives": ["DeepEmbedding", "DeepMeans"],
        "coding_rate": ["RateReduction", "RateSettings", "TotalRate", "build_rate_network"],
        "collapse": ["SMALLEST_SHARE", "effective_rank", "has_collapsed", "has_lost_spread", "spread"],
        "contrastive": ["GroupOrdering", "NTXent", "VICReg"],
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
        "incremental": ["RunningState"],
        "inference": ["apply_layers", "standardize", "unit_rows"],
        "neighbor_embedding": ["EmbeddingDistillation", "MapTargets", "build_map"],
        "networks": [
            "build_autoencoder",
            "build_decoder",
            "build_encoder",
            "build_head",
            "build_projected",
            "export_layers",
        ],
        "objectives": ["Batch", "Objective", "Reconstruction", "check_objective"],
        "phases": ["Phase", "Trained", "TrainingSettings"],
        "prototypes": ["ClusteredViews", "PrototypeSettings", "SeveralPrototypes", "SwappedPrediction"],
        "rows": ["training_rows"],
        "samplers": ["OnePerCluster", "RandomBatches", "check_sampler", "collision_rate"],
        "settings": ["NetworkSettings", "OptimizerSettings"],
        "sorting": ["soft_permutation", "soft_sort"],
        "tables": ["TrainingTable", "map_standardized", "measure", "table_in_memory", "training_table"],
        "training": ["Trainer"],
        "variational": [
            "ColumnLikelihood",
            "InputKinds",
            "VariationalMixture",
            "VariationalReconstruction",
            "build_variational_network",
        ],
        "views": ["CorrelatedMask", "Corruption", "OwnViews", "Subsets", "check_views", "mutual_information"],
    },
)
