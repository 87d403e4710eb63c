from ._hidden_class_kfold import HiddenClassKFold
from ._hidden_class_search import HiddenClassSearchCV
from ._n_clusters import estimate_n_clusters
from ._representation import RepresentationScores, evaluate_representation

__all__ = [
    "HiddenClassKFold",
    "HiddenClassSearchCV",
    "RepresentationScores",
    "estimate_n_clusters",
    "evaluate_representation",
]
