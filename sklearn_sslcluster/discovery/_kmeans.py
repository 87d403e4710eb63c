"""The fit shared by the two k-means estimators: they differ in whether unlabeled rows may join known classes."""

from __future__ import annotations

from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from ..base import check_range, check_weights
from ..engine import blocks_of, fit_progress
from ..labels import PartialLabels
from ..numerics import (
    CenterProblem,
    LloydSettings,
    choose_n_clusters,
    no_anchors,
    objective,
    pose_problem,
    shifted_centers,
    solve,
)
from ._base import POWER, BaseCenterDiscovery


class BaseDiscoveryKMeans(BaseCenterDiscovery):
    """Template of the fit; a subclass says how known classes take part and by what ``"auto"`` is decided."""

    _parameter_constraints: dict = {
        **BaseCenterDiscovery._parameter_constraints,
        "seeding": [StrOptions({"distance", "squared-distance"})],
        "selection": [StrOptions({"distance", "inertia"})],
        "block_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "device": [str, None],
    }
    _accepts_dask = True
    _move_known: ClassVar[bool]
    _criterion: ClassVar[str]

    def _fit(self, X: Any, y: Any, sample_weight: Any) -> Any:
        X = self._check_rows(X, reset=True)
        sample_weight = self._check_weights(sample_weight, X)
        labels = self._encode_labels(y, X)
        random_state = check_random_state(self.random_state)
        codes = labels.codes if labels.n_known else None
        blocks = blocks_of(X, (codes, sample_weight), block_size=self.block_size, device=self.device)
        n_wanted = 0 if self.n_clusters == "auto" else self._n_novel_wanted(labels)
        problem = pose_problem(blocks, labels.n_known, random_state, labels.n_known + n_wanted)
        check_weights(problem, labels)
        check_range(problem, X.dtype)
        settings = LloydSettings(self.n_init, self.max_iter, self.tol, POWER[self.seeding], POWER[self.selection])
        scores: dict[str, Any] = {}
        with fit_progress(self, X, y, max_steps=None, step_name="iteration") as step:

            def on_step(now: np.ndarray) -> bool:
                return step(lambda: self._state(problem, labels, now))

            if self.n_clusters == "auto":
                n_clusters, scores["n_clusters_scores_"] = choose_n_clusters(
                    problem,
                    self._candidates(labels.n_known),
                    settings,
                    random_state,
                    move_known=self._move_known,
                    criterion=self._criterion,
                    on_step=on_step,
                )
                n_wanted = n_clusters - labels.n_known
            centers = solve(problem, n_wanted, settings, random_state, move_known=self._move_known, on_step=on_step)
        fitted = self._class_attributes(problem, labels, centers.known, centers.novel)
        self._warn_if_fewer(labels.n_known + n_wanted, fitted["n_clusters_"])
        inertia = self._inertia(problem, fitted["cluster_centers_"], labels.n_known)
        self._set_fitted(**fitted, **scores, n_iter_=centers.n_iter, inertia_=inertia)
        return self

    def _state(self, problem: CenterProblem, labels: PartialLabels, centers: np.ndarray) -> dict[str, Any]:
        """Attributes with which callbacks can use the estimator as if the fit had stopped here."""
        if not self._move_known:
            centers = np.vstack([problem.anchors.means, centers])
        centers = shifted_centers(centers, problem.frame.shift)
        names = self._name_classes(labels.classes, len(centers) - labels.n_known)
        return {"cluster_centers_": centers, "n_clusters_": len(centers), **names}

    def _inertia(self, problem: CenterProblem, centers: np.ndarray, n_known: int) -> float:
        """Sum of squared distances of the rows that took part, to the centers that they may belong to."""
        shift = problem.frame.shift
        around = centers if shift is None else centers - shift
        if self._move_known:
            return objective(problem.source, around, problem.anchors, problem.frame)
        if len(centers) == n_known:
            return 0.0
        return objective(problem.source, around[n_known:], no_anchors(centers.shape[1]), problem.frame)
