"""Networks applied by numpy: no torch, and no dependence on how rows are batched.

A network is a list of layers, each a dict with a ``kind`` and arrays: "linear" (``weight``, ``bias``), "affine"
(``scale``, ``shift``: batch normalization after training), an activation without arrays, or "normalize" (rows to unit
length).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import erf, expit

_ROWS = 4096
_ACTIVATIONS = {
    "relu": lambda Z: np.maximum(Z, 0),
    "leaky_relu": lambda Z: np.where(Z > 0, Z, 0.01 * Z),
    "gelu": lambda Z: 0.5 * Z * (1 + erf(Z / np.sqrt(2))),
    "tanh": np.tanh,
    "sigmoid": expit,
}


def apply_layers(layers: list[dict[str, Any]], X: np.ndarray) -> np.ndarray:
    """Outputs of a network, in float64."""
    parts = [_apply(layers, X[start : start + _ROWS]) for start in range(0, max(len(X), 1), _ROWS)]
    return np.concatenate(parts)


def _apply(layers: list[dict[str, Any]], X: np.ndarray) -> np.ndarray:
    Z = np.asarray(X, dtype=np.float64)
    for layer in layers:
        kind = layer["kind"]
        if kind == "linear":
            Z = Z @ layer["weight"].T.astype(np.float64) + layer["bias"]
        elif kind == "affine":
            Z = Z * layer["scale"] + layer["shift"]
        elif kind == "normalize":
            Z = unit_rows(Z)
        else:
            Z = _ACTIVATIONS[kind](Z)
    return Z


def unit_rows(Z: np.ndarray) -> np.ndarray:
    """Rows of unit length; rows of zeros stay."""
    return Z / np.maximum(np.linalg.norm(Z, axis=1, keepdims=True), 1e-12)


def standardize(X: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Rows as networks see them, in float64."""
    return (np.asarray(X, dtype=np.float64) - mean) / scale
