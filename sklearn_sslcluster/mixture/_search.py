"""The search of `SemiSupervisedGaussianMixture`: on distinct rows along their principal axes, then on all rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..numerics import (
    CenterProblem,
    MaximizationSettings,
    Mixture,
    MixtureFit,
    MixtureRows,
    MixtureTask,
    component_codes,
    evaluation_of,
    expectation_maximization,
    labeled_rows,
    log_joint_densities,
    lower_regularization,
    search,
    shifted,
    sweep,
    thinned,
    with_dense_sample,
    within_variances,
)
from ._axes import along, principal_axes, turned_back
from ._fit_tools import COARSE, MOST_SEARCHED_ROWS, Posed, final_settings, first_regularization, whole_rows

# Distinct rows on which numbers of components are compared.
_MOST_SWEPT_ROWS = 4096
_SWEEP_STARTS = 10
# Searches with ever less regularization, where groups lie far apart.
_ROUNDS, _MUCH_LESS = 3, 0.5
# Variances that are less than this share of others are rounding.
_COLLINEAR = 1e-10


def find_mixture(estimator: Any, posed: Posed, random_state: np.random.RandomState, on_step: Callable) -> tuple:
    """(fit on all rows, components wanted, its settings, further attributes) without a given start."""
    problem = with_dense_sample(thinned(posed.problem, _n_searched(posed), random_state))
    # Regularization by "auto" follows the features: so let these be the axes along which the rows vary.
    turns = estimator.reg_covar == "auto" and estimator.covariance_type in ("full", "tied")
    axes = principal_axes(problem) if turns else None
    if axes is None:
        fit, final, wanted, scores = _search_along(estimator, posed, problem, None, random_state, on_step)
    else:
        seen, problem = along(posed, problem, axes)
        along_axes = first_regularization(estimator.reg_covar, problem)
        # Along an axis on which all rows agree but for rounding, what its features vary by.
        of_features = (axes**2).T @ posed.settings.regularization
        regularization = np.where(along_axes > _COLLINEAR * of_features, along_axes, of_features)
        first = replace(seen.settings, regularization=regularization)

        def turned_step(mixture: Mixture, objective: float) -> bool:
            return on_step(turned_back(mixture, axes), objective)

        seen = replace(seen, settings=first)
        fit, final, wanted, scores = _search_along(estimator, seen, problem, axes, random_state, turned_step)
        fit = replace(fit, mixture=turned_back(fit.mixture, axes))
        final = replace(posed.settings, regularization=axes**2 @ final.regularization)
    if not problem.sample.complete:
        fit = expectation_maximization(
            whole_rows(posed), fit.mixture, final, estimator.max_iter, estimator.tol, on_step
        )
    return fit, wanted, final, scores


def _search_along(
    estimator: Any,
    posed: Posed,
    problem: CenterProblem,
    axes: np.ndarray | None,
    random_state: np.random.RandomState,
    on_step: Callable,
) -> tuple:
    """(fit of the distinct rows, its settings, components wanted, further attributes), all along the axes."""
    few = thinned(problem, _MOST_SWEPT_ROWS, random_state)
    settings = posed.settings
    scores: dict[str, Any] = {}
    wanted = posed.labels.n_known
    if estimator.n_components != "auto":
        wanted += estimator._n_novel_wanted(posed.labels)
    for _ in range(_ROUNDS):
        task = _task(estimator, posed, problem, settings, axes)
        candidates: list[MixtureFit] = []
        if estimator.n_components == "auto":
            swept = replace(_task(estimator, posed, few, settings, axes), n_init=min(estimator.n_init, _SWEEP_STARTS))
            wanted, criterion, candidates = _sweep(estimator, posed, swept, task, random_state, on_step)
            scores["n_components_scores_"] = criterion
        fit = search(task, wanted - posed.labels.n_known, random_state, candidates, on_step)
        within = within_variances(task.rows, fit, settings.kind)
        smaller = np.maximum(COARSE * within, _COLLINEAR * settings.regularization)
        if estimator.reg_covar != "auto" or not np.median(smaller / settings.regularization) < _MUCH_LESS:
            break
        # Groups lie so far apart that what was little in units of all the variance is much within them.
        settings = replace(settings, regularization=smaller)
    final = final_settings(posed, estimator.reg_covar, within, wanted)
    if estimator.reg_covar == "auto":
        fit = lower_regularization(task, fit, final, random_state)
    return fit, final, wanted, scores


def _sweep(
    estimator: Any,
    posed: Posed,
    swept: MixtureTask,
    task: MixtureTask,
    random_state: np.random.RandomState,
    on_step: Callable,
) -> tuple[int, dict[int, float], list[MixtureFit]]:
    """(number of components, criterion of each number tried, fit of the sweep with that number)."""
    n_known = posed.labels.n_known
    ks = estimator._candidates(n_known) if posed.labels.unlabeled.any() else [max(n_known, 1)]
    fits, criterion = sweep(swept, ks, random_state, on_step)
    if not fits:
        return max(n_known, 1), criterion, []
    wanted = max(criterion, key=criterion.__getitem__)
    return wanted, criterion, [task.run(fits[wanted].mixture)]


def _n_searched(posed: Posed) -> int:
    """Most distinct rows that are searched: fewer the more features there are."""
    n_features = posed.problem.source.n_features
    return max(MOST_SEARCHED_ROWS * 32 // max(n_features, 32), 4096, 8 * n_features)


def _task(
    estimator: Any, posed: Posed, problem: CenterProblem, settings: MaximizationSettings, axes: np.ndarray | None
) -> MixtureTask:
    rows = posed.rows_of(problem)
    score: Callable[[MixtureFit], float] = _objective
    if estimator.selection == "labeled" and posed.labels.n_known:
        score = labels_agreement(posed, axes)
    elif callable(estimator.selection):
        score = partition_score(estimator.selection, problem, rows)
    return MixtureTask(
        problem,
        rows,
        settings,
        estimator.n_init,
        estimator.max_iter,
        estimator.tol,
        estimator.init,
        score,
        moves=estimator.selection == "likelihood",
        axes=axes,
    )


def _objective(fit: MixtureFit) -> float:
    return fit.objective


def labels_agreement(posed: Posed, axes: np.ndarray | None) -> Callable[[MixtureFit], float]:
    """Score of a fit: mean log posterior of their own class that it gives labeled rows."""
    source = posed.problem.source
    distinct = labeled_rows(source, np.random.RandomState(0))
    codes = posed.labels.codes[distinct.rows]
    X = shifted(distinct.X.astype(np.float64), posed.problem.frame.shift)
    labeled = source.like(X if axes is None else X @ axes, (None, None))

    def score(fit: MixtureFit) -> float:
        evaluation = evaluation_of(fit.mixture, None, np.inf, np.dtype(np.float64))
        resp = labeled.map(log_joint_densities, (evaluation, "resp"))[0]
        own = np.log(np.maximum(resp[np.arange(len(codes)), codes], np.finfo(np.float64).tiny))
        return float(np.average(own, weights=distinct.weight))

    return score


def partition_score(selection: Callable, problem: CenterProblem, rows: MixtureRows) -> Callable[[MixtureFit], float]:
    """Score of a fit by a user's function of distinct rows and their codes."""
    X = problem.source.take(problem.sample.rows)

    def score(fit: MixtureFit) -> float:
        value = float(selection(X, component_codes(rows, fit.mixture)))
        return -np.inf if np.isnan(value) else value

    return score
