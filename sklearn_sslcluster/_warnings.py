"""Warnings that point at the user's line, however deep in this package and in scikit-learn they arise."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import sklearn

_INSIDE = (str(Path(__file__).parent), str(Path(sklearn.__file__).parent))


def warn_user(message: str, category: type[Warning] = UserWarning) -> None:
    """``warnings.warn`` from the first frame that is neither ours nor scikit-learn's."""
    level = 1
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_INSIDE):
        level += 1
        frame = frame.f_back  # type: ignore[assignment]
    warnings.warn(message, category, stacklevel=level + 1)
