"""Rows in a plane as an inline picture, colored by class; known and novel classes also differ by shape."""

from __future__ import annotations

import numpy as np

from ._projection import shown_rows

_MAX_ROWS = 1500
_WIDTH, _HEIGHT, _EDGE = 640, 420, 16
N_COLORS = 10


def picture(embedding: np.ndarray, codes: np.ndarray, is_novel: np.ndarray) -> str:
    """An ``svg`` element; colors and sizes of text come from the style sheet of the page."""
    rows = shown_rows(codes, _MAX_ROWS)
    points = _on_canvas(embedding)
    n_classes = len(is_novel)
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Rows in the plane of the first two principal '
        f'components, {n_classes} classes; circles are rows of known classes, diamonds of novel ones.">'
    ]
    for code in range(n_classes):
        here = rows[codes[rows] == code]
        shape = _diamond if is_novel[code] else _circle
        parts.append(f'<path class="k{code % N_COLORS}" d="{"".join(shape(*points[row]) for row in here)}"/>')
    for code in np.unique(codes):
        x, y = np.median(points[codes == code], axis=0)
        parts.append(f'<text x="{x:.0f}" y="{y:.0f}">{code + 1}</text>')
    return "".join([*parts, "</svg>"])


def _on_canvas(embedding: np.ndarray) -> np.ndarray:
    low, high = embedding.min(axis=0), embedding.max(axis=0)
    # One scale for both directions, so that distances can be compared.
    room = np.array([_WIDTH, _HEIGHT]) - 2 * _EDGE
    extent = high - low
    scale = min((room[i] / extent[i] for i in range(2) if extent[i] > 0), default=1.0)
    centered = (embedding - (low + high) / 2) * scale * [1, -1]
    return centered + np.array([_WIDTH, _HEIGHT]) / 2


def _circle(x: float, y: float) -> str:
    return f"M{x - 3:.1f} {y:.1f}a3 3 0 1 0 6 0a3 3 0 1 0-6 0"


def _diamond(x: float, y: float) -> str:
    return f"M{x:.1f} {y - 4:.1f}l4 4l-4 4l-4-4z"
