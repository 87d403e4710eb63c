"""Partially labeled data: protocols that hide labels, a generator, and a loader of real rows."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "_loaders": ["load_novel_digits"],
        "_partial_labels": ["hide_classes", "make_partially_labeled_blobs"],
    },
)
