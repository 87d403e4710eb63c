from ._loaders import load_novel_digits
from ._partial_labels import hide_classes, make_partially_labeled_blobs

__all__ = ["hide_classes", "load_novel_digits", "make_partially_labeled_blobs"]
