"""How many components: a sweep from few to many, each mixture grown from the one before, and a penalized likelihood.

The Bayesian information criterion supposes that classes are Gaussian. Where they are not, every class is worth several
components to it. Classes with labels show how much likelihood splitting a class, which is wrong, brings on this table,
and how much joining two classes, which is wrong too, costs: the penalty for a component is put between the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import issparse

from .center_fit import labeled_rows
from .centroids import Frame, shifted
from .gaussians import Moments, add_moments
from .mixture_fit import MixtureFit, MixtureRows, OnStep, component_codes, measure_rows
from .mixture_moves import best_log_likelihood, divided, exchange, propose_split, propose_splits
from .mixture_search import MixtureTask, best_fits, best_of_starts, start_mixture
from .mixture_steps import MaximizationSettings, padded

# Splits tried at each step of the sweep, and the effort of the exchanges after it.
_N_SPLITS = 3
_SPLIT_ITER = 25
_MOVES = {"max_moves": 4, "n_trials": 6}
# The sweep ends when so many numbers in a row were worse than the best.
_PATIENCE = 4
# The penalty exceeds the largest gain of splitting a known class by at most this factor.
_ABOVE_WITHIN = 1.5


@dataclass(frozen=True)
class Calibration:
    """Rows with labels seen as free, to find out what splitting their classes would bring."""

    rows: MixtureRows
    codes: np.ndarray


def calibration_rows(task: MixtureTask, random_state: np.random.RandomState) -> Calibration | None:
    """All distinct rows, labeled ones last, without their labels; None if no class is known."""
    problem = task.problem
    if not task.rows.n_known or not task.can_move:
        return None
    labeled = labeled_rows(problem.source, random_state)
    codes = problem.source.row_data[0][labeled.rows]
    X = shifted(_dense(labeled.X).astype(np.float64), problem.frame.shift)
    X = X if task.axes is None else X @ task.axes
    drawn = np.bincount(codes, labeled.weight, task.rows.n_known)
    wanted = task.rows.labeled.weight  # type: ignore[union-attr]
    weight = labeled.weight * (wanted / np.where(drawn > 0, drawn, 1))[codes]
    free = problem.sample
    everything = np.vstack([free.X, X])
    weights = np.concatenate([free.weight, weight])
    source = problem.source.like(everything, (None, weights))
    rows = measure_rows(source, Frame(None, float(weights.sum()), 1.0), None, task.settings.kind)
    return Calibration(rows, np.concatenate([np.full(free.X.shape[0], -1, dtype=np.int32), codes]))


def _dense(X: Any) -> np.ndarray:
    return X.toarray() if issparse(X) else X


def effective_parameters(moments: Moments, settings: MaximizationSettings) -> np.ndarray:
    """Parameters of each component that the rows rather than the regularization determine.

    An eigenvalue `a` of a covariance, in units of the regularization, is shrunk by ``s = a / (a + 1)``. A coordinate of
    the mean along it counts `s`, and an entry of the covariance the product of the two factors (the trace of the
    product of information and sampling covariance, as in Takeuchi's criterion).
    """
    kind, reg = settings.kind, settings.regularization
    weight = np.maximum(moments.weight, np.finfo(np.float64).tiny)
    if kind == "spherical":
        share = moments.scatter / weight / len(reg)
        shrunk = np.repeat((share / (share + reg.mean() + np.finfo(np.float64).tiny))[:, None], len(reg), axis=1)
        return shrunk.sum(axis=1) + shrunk[:, 0] ** 2
    if kind == "diag":
        variances = moments.scatter / weight[:, None]
        shrunk = variances / (variances + reg + np.finfo(np.float64).tiny)
        return (shrunk + shrunk**2).sum(axis=1)
    if kind == "tied":
        return np.full(len(weight), float(len(reg)))
    unit = np.sqrt(np.maximum(reg, np.finfo(np.float64).tiny ** 0.5))
    values = np.linalg.eigvalsh(moments.scatter / weight[:, None, None] / unit[:, None] / unit)
    shrunk = 1 / (1 + 1 / np.maximum(values, np.finfo(np.float64).tiny))
    total = shrunk.sum(axis=1)
    return total + (total**2 + (shrunk**2).sum(axis=1)) / 2


def component_penalty(
    task: MixtureTask, fit: MixtureFit, calibration: Calibration | None, random_state: np.random.RandomState
) -> float:
    """Log likelihood that one more component has to bring."""
    kind, settings, n_known = task.settings.kind, task.settings, task.rows.n_known
    moments = fit.moments
    if task.rows.labeled is not None:
        moments = add_moments(kind, moments, padded(kind, task.rows.labeled, len(moments.weight)))
    parameters = float(effective_parameters(moments, settings).mean()) + 1
    information = parameters / 2 * float(np.log(max(task.rows.weight * task.evidence, 2.0)))
    if calibration is None:
        return information
    codes = np.where(calibration.codes >= 0, calibration.codes, component_codes(calibration.rows, fit.mixture))
    within = []
    for code in range(n_known):
        members = np.flatnonzero(codes == code)
        # Seen as a component that is no known class, so that its labeled rows are free to go.
        split = propose_split(calibration.rows, members, n_known, settings, random_state)
        if split is not None:
            within.append(split.gain * task.evidence)
    if not within:
        return information
    limit = _ABOVE_WITHIN * max(within)
    if n_known > 1:
        a, b = np.triu_indices(n_known, k=1)
        known = moments.subset(slice(n_known))
        alone = best_log_likelihood(known, settings)
        pairs = add_moments(kind, known.subset(a), known.subset(b))
        between = task.evidence * float((alone[a] + alone[b] - best_log_likelihood(pairs, settings)).min())
        limit = min(limit, float(np.sqrt(max(np.median(within), 0.0) * max(between, 0.0))))
    return max(information, limit)


def grow(task: MixtureTask, fit: MixtureFit, random_state: np.random.RandomState) -> MixtureFit | None:
    """Mixture with one component more: the best of the most promising splits, improved by exchanges."""
    splits = propose_splits(task.rows, fit.mixture, task.settings, random_state)
    if not splits:
        return None
    grown = [task.run(divided(fit.mixture, split), _SPLIT_ITER) for split in splits[:_N_SPLITS]]
    best = best_fits(grown, lambda one: one.objective)[0]
    return exchange(task.rows, task.run(best.mixture), task.settings, random_state, max_iter=task.max_iter, **_MOVES)


def sweep(
    task: MixtureTask, ks: list[int], random_state: np.random.RandomState, on_step: OnStep | None = None
) -> tuple[dict[int, MixtureFit], dict[int, float]]:
    """Fits for increasing numbers of components, and their criterion (larger is better).

    Each number is judged with the penalty of the number that the criterion prefers in the end. The sweep stops early
    when the criterion has fallen for several numbers in a row.

    Parameters
    ----------
    task : MixtureTask
    ks : list of int
        Total numbers of components, increasing by one.
    random_state : RandomState
    on_step : callable, optional
        Called with the mixture and its objective after each number; True ends the sweep.

    Returns
    -------
    fits : dict of int to MixtureFit
    scores : dict of int to float
        Penalized log likelihood in nats.
    """
    n_known = task.rows.n_known
    calibration = calibration_rows(task, random_state)
    fits: dict[int, MixtureFit] = {}
    penalties: dict[int, float] = {}
    fit: MixtureFit | None = None
    for k in ks:
        fit = _next_fit(task, k - n_known, fit, random_state)
        if fit is None or fit.mixture.n_components < k:
            break
        fits[k] = fit
        penalties[k] = component_penalty(task, fit, calibration, random_state)
        stop = on_step is not None and on_step(fit.mixture, fit.objective)
        scores = _scores(task, fits, penalties[k])
        if stop or k - max(scores, key=scores.__getitem__) >= _PATIENCE:
            break
    if not fits:
        return {}, {}
    best = max(fits)
    for _ in range(len(fits)):
        scores = _scores(task, fits, penalties[best])
        preferred = max(scores, key=scores.__getitem__)
        if preferred == best:
            break
        best = preferred
    return fits, scores


def _next_fit(
    task: MixtureTask, n_novel: int, fit: MixtureFit | None, random_state: np.random.RandomState
) -> MixtureFit | None:
    if fit is None or not task.can_move:
        if n_novel == 0:
            return task.run(start_mixture(task, 0, 0, 0))
        return best_of_starts(task, n_novel, random_state, n_best=1)[0]
    return grow(task, fit, random_state)


def _scores(task: MixtureTask, fits: dict[int, MixtureFit], penalty: float) -> dict[int, float]:
    return {k: fit.objective * task.rows.weight * task.evidence - penalty * k for k, fit in fits.items()}
