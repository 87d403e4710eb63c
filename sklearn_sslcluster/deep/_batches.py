"""Networks that learn batch by batch: ``partial_fit`` goes on from the weights that the batch before has left."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from .. import neural
from ..base import refuse_dask, restore_on_failure
from ..neural import NeuralMixin


class BatchwiseMixin(NeuralMixin):
    """``partial_fit`` of estimators that train a network.

    The ``fit`` of a subclass also sets what `_begun` returns. ``_follow(X, y)`` returns the fitted attributes that a
    further batch changes.
    """

    @restore_on_failure
    def partial_fit(self, X: Any, y: Any = None) -> Any:
        """Learn from one batch of rows.

        The first batch of an estimator that is not fitted is given to ``fit``; it decides on the scale of the columns
        and on the classes there are, and should hold some thousand rows. Each further batch is seen once.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Batch of rows, in no particular order: each batch should be a sample of what there is.
        y : array-like of shape (n_samples,), default=None
            Partial labels, as for ``fit``; after the first batch those of known or found classes.

        Returns
        -------
        self : object
            The updated estimator. Attributes with a value for each row or class are those of the batch; what compares
            start and end of a fit, as ``modularity_`` does, stays that of the first.

        Raises
        ------
        ValueError
            If `X` has other features than before, or NaN or infinite values, `y` holds a label that is no class, or the
            estimator was saved by a version without ``partial_fit``.
        """
        refuse_dask(self, X, "batches")
        self._validate_params()
        if not hasattr(self, "encoder_layers_"):
            return self.fit(X, y)
        if not hasattr(self, "training_state_"):
            raise ValueError(
                f"This {type(self).__name__} was saved by a version of sklearn-sslcluster whose fit kept nothing to go "
                "on from; fit it again."
            )
        self.__dict__ = vars(self) | self._follow(X, y)
        return self

    def _follow(self, X: Any, y: Any) -> dict[str, Any]:
        raise NotImplementedError

    def _begun(self, trained: Any, phase: str | None, n_rows: int, **objective: np.ndarray) -> dict[str, Any]:
        """Fitted attribute ``training_state_`` after ``fit``: weights at the end of it, or where a phase began.

        `objective` is what the objective remembers; the optimizer begins anew.
        """
        weights = trained.network.state_dict() if phase is None else trained.starts[phase]
        network = {name: values.detach().cpu().numpy().copy() for name, values in weights.items()}
        return {
            "training_state_": {
                "n_rows": n_rows,
                "n_batches": 1,
                "network": network,
                "objective": objective,
                "optimizers": [],
                "optimizer": self._optimizer_name(),
            }
        }

    def _optimizer_name(self) -> str:
        return (self.optimizer or self._nested["optimizer"]()).name

    def _next_rows(self, X: Any) -> np.ndarray:
        """Standardized rows of a further batch."""
        rows = self._check_rows(X)
        return neural.standardize(rows, self.mean_, self.scale_)

    def _next_seed(self) -> int:
        """Seed of a further batch: another one for each."""
        seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        sequence = np.random.SeedSequence([seed, self.training_state_["n_batches"]])
        return int(sequence.generate_state(1)[0])

    def _go_on(self, Z: np.ndarray, codes: np.ndarray, network: Any, phase: Any, seed: int) -> tuple[Any, dict]:
        """(what a pass over the batch has made of the network, attributes ``training_state_`` and ``history_``)."""
        state = self.training_state_
        # Another optimizer cannot use what the one before remembers.
        remembered = state["optimizers"] if state["optimizer"] == self._optimizer_name() else []
        begin = neural.RunningState(state["network"], state["objective"], remembered)
        trained = neural.Trainer(Z, codes, network, self._training_settings(len(Z), seed)).train([phase], begin)
        end = trained.end
        kept = {
            **state,
            "n_batches": state["n_batches"] + 1,
            "network": end.network,
            "objective": end.objective,
            "optimizers": end.optimizers,
            "optimizer": self._optimizer_name(),
        }
        history = self.history_[phase.name]
        (entry,) = trained.history[phase.name]
        history = [*history, {**entry, "epoch": float(len(history))}]
        return trained, {
            "training_state_": kept,
            "history_": {**self.history_, phase.name: history},
        }
