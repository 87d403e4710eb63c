"""Mathematics on arrays: knows no estimator, no ``y``, no validation."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "center_fit": [
            "CenterProblem",
            "Centers",
            "labeled_rows",
            "pose_problem",
            "sample_size",
            "solve",
            "solve_sample",
        ],
        "centroids": [
            "Anchors",
            "Frame",
            "LloydSettings",
            "center_distances",
            "distances_to",
            "lloyd",
            "nearest_centers",
            "no_anchors",
            "objective",
            "seed_centers",
            "shifted",
            "shifted_centers",
            "size_statistics",
        ],
        "class_count": ["choose_by_labels", "choose_n_clusters"],
        "distinct": ["RowSource", "WeightedRows", "distinct_rows", "lexicographic_order"],
        "matching": ["match_clusters"],
        "model_order": ["CRITERIA", "is_one_cluster", "pairwise_distances", "select_k", "silhouette"],
        "spectral": [
            "Affinity",
            "Embedding",
            "bandwidth",
            "connectivity_affinity",
            "dense_distances",
            "dense_longest_edge",
            "gaussian_affinity",
            "graph_affinity",
            "graph_longest_edge",
            "keep_extendable",
            "leading_eigenvectors",
            "neighbor_distances",
            "nystrom",
        ],
    },
)
