"""What estimators with a network share: nested parameters, standardized rows, and the way into the training loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from numbers import Integral
from os import PathLike
from threading import Lock
from typing import Any, ClassVar

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.utils import gen_batches
from sklearn.utils._param_validation import Interval

from .inference import apply_layers, standardize
from .settings import NetworkSettings, OptimizerSettings
from .tables import RowStream

# Rows that are embedded together.
_EMBEDDED_ROWS = 2**16
_ONE_AT_A_TIME = Lock()


class NeuralMixin:
    """Mixin of estimators with parameters ``encoder``, ``optimizer``, ``batch_size``, ``checkpoint`` and ``device``.

    ``encoder__hidden`` and ``optimizer__lr`` can be set, and searched over, also while these parameters are None, which
    stands for the defaults. After a fit ``encoder_layers_``, ``mean_`` and ``scale_`` hold what `_embed` needs.
    """

    _neural_constraints: ClassVar[dict] = {
        "embedding_size": [Interval(Integral, 1, None, closed="left")],
        "optimizer": [OptimizerSettings, None],
        "max_pretrain_epochs": [Interval(Integral, 0, None, closed="left")],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 2, None, closed="left")],
        "checkpoint": [str, PathLike, None],
        "device": [str, None],
    }
    # What None stands for.
    _nested: ClassVar[dict[str, Callable[[], Any]]] = {"encoder": NetworkSettings, "optimizer": OptimizerSettings}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters of the estimator; with `deep` also those of network and optimizer.

        Parameters
        ----------
        deep : bool, default=True
            Whether to include nested parameters.

        Returns
        -------
        params : dict
            Names and values.
        """
        params = super().get_params(deep=deep)  # type: ignore[misc]
        if deep:
            for name, default in self._nested.items():
                if name in params and params[name] is None:
                    params |= {f"{name}__{key}": value for key, value in default().get_params().items()}
        return params

    def set_params(self, **params: Any) -> Any:
        """Set parameters, ``encoder__...`` and ``optimizer__...`` included.

        Parameters
        ----------
        **params : dict
            Names and values.

        Returns
        -------
        self : object
            The estimator.
        """
        for name, default in self._nested.items():
            wanted = [key for key in params if key.startswith(f"{name}__")]
            value = params.get(name, getattr(self, name, None))
            if wanted and value is None:
                params[name] = default()
            elif wanted and not hasattr(value, "set_params"):
                raise ValueError(
                    f"{wanted[0]} cannot be set while {name}={value!r}; it belongs to {type(default()).__name__}."
                )
        return super().set_params(**params)  # type: ignore[misc]

    def _torch_device(self) -> str:
        """Name of a device of torch.

        Raises
        ------
        ValueError
            If torch sees no such device.
        """
        import torch

        wanted = self.device  # type: ignore[attr-defined]
        if wanted is None:
            return "cpu"
        if wanted == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        if wanted != "cpu" and not wanted.startswith("cuda"):
            raise ValueError(f"device must be None, 'cpu', 'cuda' or 'auto', got {wanted!r}.")
        if wanted.startswith("cuda") and not torch.cuda.is_available():
            raise ValueError(f"device={wanted!r}, but torch sees no CUDA device; 'auto' takes one if it is there.")
        return wanted

    def _train(
        self,
        X: np.ndarray,
        codes: np.ndarray,
        network: Any,
        phases: list,
        seed: int,
        *,
        validation_share: float = 0.1,
        on_epoch: Callable[..., bool] | None = None,
        stream: RowStream | None = None,
    ) -> Any:
        """Run the training loop on standardized rows; `on_epoch` and `stream` are those of `Trainer`.

        Returns
        -------
        trained : Trained
        """
        from .training import Trainer

        checkpoint = self.checkpoint  # type: ignore[attr-defined]
        fingerprint = ""
        if checkpoint is not None:
            if self.random_state is None:  # type: ignore[attr-defined]
                raise ValueError("checkpoint needs a random_state: without a seed no fit can go on where one ended.")
            described, given = self._described_params(), [getattr(phase.objective, "given", None) for phase in phases]
            fingerprint = joblib.hash((type(self).__name__, np.asarray(X), np.asarray(codes), described, seed, given))
        settings = self._training_settings(
            len(X), seed, validation_share=validation_share, checkpoint=checkpoint, fingerprint=fingerprint
        )
        return Trainer(X, codes, network, settings, on_epoch, stream).train(phases)

    def _training_settings(self, n_rows: int, seed: int, **further: Any) -> Any:
        """`TrainingSettings` for a table of so many rows."""
        from .training import TrainingSettings

        return TrainingSettings(
            optimizer=self.optimizer or self._nested["optimizer"](),  # type: ignore[attr-defined]
            batch_size=self._rows_of_a_step(n_rows),
            seed=seed,
            device=self._torch_device(),
            **further,
        )

    def _described_params(self) -> dict[str, str]:
        """Parameters that a checkpoint depends on, the same in every process."""
        # The seed stands for `random_state`, whose repr would name a place in memory.
        params = self.get_params().items()
        return {key: _described(value) for key, value in params if key not in ("checkpoint", "random_state")}

    def _rows_of_a_step(self, n_rows: int) -> int:
        """Rows of a training step, for a table of so many."""
        return self.batch_size  # type: ignore[attr-defined]

    def _weights(self, trained: Any, phase: str | None = None) -> list[dict[str, Any]]:
        """Fitted attribute ``encoder_layers_``: at the end of training, or as it was at the start of a phase."""
        layers = trained.layers("encoder", phase)
        if layers is not None:
            return layers
        # A user's own module: numpy does not know it, but keeps what it has learned.
        state = trained.state("encoder", phase)
        return [{"kind": "module", "state": {name: values.numpy() for name, values in state.items()}}]

    def _apply(self, layers: list[dict[str, Any]], X: np.ndarray) -> np.ndarray:
        """Embedding of standardized rows, in float64."""
        if not layers or layers[0]["kind"] != "module":
            return apply_layers(layers, X)
        import torch

        # Weights are drawn before they are replaced: the generator is to stay as it was, whichever threads do this.
        with _ONE_AT_A_TIME, torch.random.fork_rng(devices=[]):
            module = self.encoder(X.shape[1], self._n_outputs(X.shape[1]))  # type: ignore[attr-defined]
        module.load_state_dict({name: torch.as_tensor(value) for name, value in layers[0]["state"].items()})
        module.eval()
        with torch.no_grad():
            return module(torch.as_tensor(X, dtype=torch.float32)).numpy().astype(np.float64)

    def _applier(self, layers: list[dict[str, Any]]) -> Callable[[np.ndarray], np.ndarray]:
        """`_apply` with these layers, as a function that other processes can be sent."""
        model = clone(self)
        if hasattr(self, "n_outputs_"):
            model.n_outputs_ = self.n_outputs_
        return partial(model._apply, layers)

    def _n_outputs(self, n_features: int) -> int:
        """Columns of the embedding."""
        return self.embedding_size  # type: ignore[attr-defined]

    def _embed(self, X: np.ndarray) -> np.ndarray:
        """Embedding of rows by the fitted network, in float64."""
        layers, mean, scale = self.encoder_layers_, self.mean_, self.scale_  # type: ignore[attr-defined]
        parts = [self._apply(layers, standardize(X[rows], mean, scale)) for rows in gen_batches(len(X), _EMBEDDED_ROWS)]
        return np.concatenate(parts)


def _described(value: Any) -> str:
    """What tells a parameter from others, in every process."""
    if callable(value) and not isinstance(value, type):
        # The repr of a function names a place in memory; objectives are given what it does to rows.
        return "function"
    return f"array {joblib.hash(value)}" if isinstance(value, np.ndarray) else repr(value)
