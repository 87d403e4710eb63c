from ._clustering import category_discovery_accuracy, clustering_accuracy, hidden_class_accuracy
from ._scorers import make_partial_label_scorer

__all__ = ["category_discovery_accuracy", "clustering_accuracy", "hidden_class_accuracy", "make_partial_label_scorer"]
