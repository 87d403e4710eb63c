"""The autoencoder that several estimators begin with, and the rows that are held out to watch it."""

from __future__ import annotations

from typing import Any

from .. import neural

# Rows held out to monitor a loss, and the fewest rows of a table for that.
_VALIDATION_SHARE, _FEWEST_FOR_VALIDATION = 0.1, 100
_PATIENCE = 10
# Noise on the rows of the autoencoder, in units of the width of a column.
_NOISE = 1.0


def held_out_share(n_rows: int) -> float:
    """Share of the rows of a table of this size that monitor the loss."""
    return _VALIDATION_SHARE if n_rows >= _FEWEST_FOR_VALIDATION else 0.0


def pretraining(encoder: Any, max_epochs: int) -> list:
    """The phase of a denoising autoencoder, or none where there is nothing to learn, or no epoch for it."""
    if not max_epochs or encoder == "identity":
        return []
    reconstruction = neural.Reconstruction(_NOISE)
    return [neural.Phase("pretrain", reconstruction, max_epochs, patience=_PATIENCE, restore_best=True)]
