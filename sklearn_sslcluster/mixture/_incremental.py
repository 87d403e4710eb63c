"""Fitting a mixture batch by batch: stepwise expectation-maximization, and components born from unlikely rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base import refuse_dask, restore_on_failure
from ..labels import UNLABELED, decode
from ..numerics import MaximizationSettings, Mixture, NormalInverseWishart, labeled_rows, log_joint_densities
from ._base import BaseGaussianMixture, seen_from
from ._running_state import RunningState

# Rows less likely than this share of those of the first batch are kept aside.
_UNLIKELY = 0.01


class IncrementalMixtureMixin(BaseGaussianMixture):
    """``partial_fit`` for a mixture with the parameters of `SemiSupervisedGaussianMixture`."""

    @restore_on_failure
    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Update the mixture with one batch of rows.

        The first batch is fitted by ``fit``. Each further one moves the statistics of the unlabeled rows by a step that
        shrinks with the rows seen; labeled rows are added without forgetting. A label that is no class yet names the
        novel component that most of its rows belong to, or a new one. Rows that no component explains are kept aside,
        and form a new novel class when there are enough of them in one place.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Batch of rows, in no particular order: each batch should be a sample of what there is.
        y : array-like of shape (n_samples,), default=None
            Partial labels, as for ``fit``.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row.

        Returns
        -------
        self : object
            The updated estimator; ``labels_`` are those of the batch.

        Raises
        ------
        ValueError
            If `X` has other features than before, or NaN or infinite values.

        Notes
        -----
        With the mean statistics :math:`T` of all rows before and :math:`\\bar T` of the batch, stepwise
        expectation-maximization [1]_ takes :math:`T \\leftarrow (1 - \\eta) T + \\eta \\bar T`,
        :math:`\\eta = (1 + n / n_b)^{-0.7}` after :math:`n` rows and with :math:`n_b` in the batch.

        References
        ----------
        .. [1] O. Cappe, E. Moulines, "On-line expectation-maximization algorithm for latent data models", JRSS B
           71(3), 2009.
        """
        if not hasattr(self, "means_"):
            return self.fit(X, y, sample_weight)
        refuse_dask(self, X, "batches")
        X = self._check_rows(X)
        sample_weight = self._check_weights(sample_weight, X)
        state = RunningState.of(self)
        codes = state.take_labels(self, X, self._encode_labels(y, X))
        blocks = self._blocks(X, (codes, sample_weight))
        state.update(self, blocks)
        if self.n_components == "auto":
            state.give_birth(self, blocks)
        fitted = state.attributes(state.mixture(self))
        self.__dict__ = vars(self) | fitted
        found = self._map_joint(X, "code")
        np.copyto(found, state.ranks[codes], where=codes != UNLABELED)
        self.labels_ = decode(found, self.classes_)
        return self

    def _running_attributes(self, posed: Any, mixture: Mixture, settings: MaximizationSettings) -> dict[str, Any]:
        """What ``partial_fit`` needs of a fit besides the parameters."""
        problem = posed.problem
        public = mixture.gaussians.means
        if problem.frame.shift is not None:
            public = public + problem.frame.shift
        density, weight = [], []
        parts = [(problem.sample.rows, problem.sample.weight)]
        if posed.labels.n_known:
            labeled = labeled_rows(problem.source, np.random.RandomState(0))
            parts.append((labeled.rows, labeled.weight))
        for rows, row_weight in parts:
            if len(rows):
                density.append(self._density_under(problem.source.take(rows), seen_from(mixture, public, None)))
                weight.append(row_weight)
        unlikely = np.quantile(
            np.concatenate(density), _UNLIKELY, weights=np.concatenate(weight), method="inverted_cdf"
        )
        return {
            "reg_covar_": settings.regularization,
            "n_samples_seen_": float(problem.frame.weight),
            "unlikely_": float(unlikely),
            "prior_": _as_dict(settings.prior, problem.frame.shift),
            "unlikely_rows_": np.zeros((0, problem.source.n_features)),
            "unlikely_weights_": np.zeros(0),
            "statistics_": _labeled_statistics(posed),
        }

    def _density_under(self, X: Any, mixture: Mixture) -> np.ndarray:
        evaluation = self._evaluate(X, mixture.gaussians.means, mixture)
        return self._blocks(X).map(log_joint_densities, (evaluation, "density"))[0]


def _as_dict(prior: NormalInverseWishart | None, shift: np.ndarray | None) -> dict[str, Any] | None:
    """A prior in the coordinates of the rows, as the parameter `prior` takes it."""
    if prior is None:
        return None
    mean = prior.mean if shift is None else prior.mean + shift
    return {"mean": mean, "mean_strength": prior.mean_strength, "dof": prior.dof, "scale": prior.scale}


def _labeled_statistics(posed: Any) -> dict[str, np.ndarray]:
    """Moments of the labeled rows in the coordinates of the rows; of none, if none is labeled."""
    moments, n_features, kind = posed.labeled, posed.problem.source.n_features, posed.settings.kind
    shapes = {"full": (0, n_features, n_features), "tied": (n_features, n_features), "diag": (0, n_features)}
    if moments is None:
        return {
            "labeled_weight": np.zeros(0),
            "labeled_means": np.zeros((0, n_features)),
            "labeled_scatter": np.zeros(shapes.get(kind, (0,))),
        }
    shift = posed.problem.frame.shift
    means = moments.means if shift is None else moments.means + shift
    return {"labeled_weight": moments.weight, "labeled_means": means, "labeled_scatter": moments.scatter}
