"""Bounds from cheap to dear, and what the best of them says of a clustering."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil, floor, log10
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from ..engine import array_backend
from ._admm import AdmmSettings, admm_from_labels
from ._bounds import label_bound, pca_bound
from ._division import Parts, division_bound, sketch_bound
from ._points import MergedRows, Points
from ._rounding import partition_inertia

# Up to so many points "auto" takes one relaxation of all of them instead of dividing.
_MOST_ADMM = 2000
# Share by which rounding may lift a bound above the inertia.
_LARGEST_EXCESS = 1e-9
# Rows of a part without and with a budget.
_PART_ROWS, _HASTY_PART_ROWS = 1000, 400
_PROOFS = {
    "exact": "there being nothing to choose",
    "pca": "singular values of the data",
    "labels": "multipliers that the labels imply in closed form",
    "admm": "the dual of the semidefinite relaxation",
    "division": "semidefinite relaxations of parts of the rows",
}
# Number type and smallest value of the settings; the upper limits are 1 where there is one.
_COUNTS = {"part_size": 10, "n_sketches": 2, "sketch_size": 10, "max_iter": 1}


@dataclass(frozen=True)
class KMeansCertificate:
    """A lower bound on the inertia of every clustering, and what it says of one.

    Parameters
    ----------
    n_samples, n_clusters : int
        Rows (of positive weight) and clusters.
    inertia : float
        Weighted sum of squared distances of the rows to the means of their clusters, of the labels in question.
    lower_bound : float
        No clustering into `n_clusters` clusters has a smaller inertia (0 if no rigorous bound was asked for).
    gap : float
        ``(inertia - lower_bound) / inertia``: no clustering is better by a larger share.
    certified : bool
        The labels are optimal up to the tolerance asked for.
    method : str
        What gave the bound: "exact", "pca", "labels", "admm", "division", or "none".
    bounds : dict of str to float
        The bound of every method that was tried.
    probable_bound : float or None
        A bound that holds with probability `confidence` over the random samples drawn, for ``method="sketch"``.
    confidence : float or None
        Of `probable_bound`.
    complete : bool
        False if the budget ended the search for a better bound.
    constrained : bool
        The bound is one for clusterings that respect partial labels.

    See Also
    --------
    certify_kmeans : Makes certificates.

    Examples
    --------
    >>> from sklearn_sslcluster.sdp import certify_kmeans
    >>> certificate = certify_kmeans([[0.0], [1.0], [9.0], [10.0]], [0, 0, 1, 1])
    >>> round(certificate.inertia, 6), certificate.certified
    (1.0, True)
    """

    n_samples: int
    n_clusters: int
    inertia: float
    lower_bound: float
    gap: float
    certified: bool
    method: str
    bounds: dict[str, float] = field(repr=False)
    probable_bound: float | None = None
    confidence: float | None = None
    complete: bool = True
    constrained: bool = False

    def __str__(self) -> str:
        # Rounded down, like all bounds: a share less than a rounded number might be more than was proven.
        inertia = _rounded(self.inertia, 6, floor)
        which = f"{self.n_samples:,} rows into {self.n_clusters:,} cluster{'s' if self.n_clusters != 1 else ''}"
        if self.constrained:
            which += " that respects the labels"
        if self.certified:
            text = (
                f"Proven optimal by {_PROOFS[self.method]}: no clustering of {which} has an inertia below the "
                f"{inertia} of this one"
            )
            text += f" (by more than a share of {_rounded(self.gap, 2, ceil)})." if self.gap > 0 else "."
        elif self.lower_bound > 0:
            text = (
                f"No clustering of {which} has an inertia more than {_rounded(100 * self.gap, 3, ceil)} % below the "
                f"{inertia} of this one: proven to be at least {_rounded(self.lower_bound, 6, floor)} by "
                f"{_PROOFS[self.method]}. Whether this one is optimal is not proven."
            )
        else:
            text = f"Nothing is proven of the clustering of {which} with inertia {inertia}."
        if self.probable_bound is not None:
            text += (
                f" With {self.confidence:.0%} confidence the smallest inertia is at least "
                f"{_rounded(self.probable_bound, 6, floor)}."
            )
        if not self.complete:
            text += " The budget ended the search for a better bound."
        return text


def _rounded(value: float, n_digits: int, towards: Callable[[float], int]) -> str:
    """`value` with few digits, rounded up or down, so that what is printed is no more than was proven."""
    if value <= 0:
        return "0"
    unit = 10.0 ** (floor(log10(value)) - n_digits + 1)
    return f"{towards(value / unit) * unit:.{n_digits}g}"


@dataclass(frozen=True)
class CertificateSettings:
    """Sizes, tolerances and parallel work of :func:`certify_kmeans`.

    Parameters
    ----------
    tol : float, default=1e-6
        A gap up to which labels count as optimal.
    part_size : int, default=None
        Rows of a part of "division": larger parts give better bounds and take longer. None for 1,000, or 400 when
        there is a budget.
    n_sketches, sketch_size : int, default=50 and 300
        Random samples of "sketch", and the rows of each.
    confidence : float, default=0.99
        Of the bound of "sketch".
    max_iter : int, default=200
        Iterations of "admm"; parts and sketches get a quarter of it, at least 25.
    n_jobs : int, default=None
        Parts worked on at the same time, by joblib and its current backend.
    device : {"cpu", "cuda", "auto"}, default=None
        Where "admm" keeps its matrices; None for numpy. Bounds are always evaluated by numpy in float64.
    random_state : int, RandomState instance or None, default=None
        Deals rows into parts and draws samples.

    Raises
    ------
    ValueError, TypeError
        If a number is out of its range or none.

    See Also
    --------
    certify_kmeans : Takes these settings.

    Examples
    --------
    >>> from sklearn_sslcluster.sdp import CertificateSettings
    >>> CertificateSettings(part_size=400).part_size
    400
    """

    tol: float = 1e-6
    part_size: int | None = None
    n_sketches: int = 50
    sketch_size: int = 300
    confidence: float = 0.99
    max_iter: int = 200
    n_jobs: int | None = None
    device: str | None = None
    random_state: Any = None

    def __post_init__(self) -> None:
        for name, smallest in _COUNTS.items():
            value = getattr(self, name)
            if value is None and name == "part_size":
                continue
            if not isinstance(value, Integral):
                raise TypeError(f"{name} must be an integer, got {value!r}.")
            if value < smallest:
                raise ValueError(f"{name} must be at least {smallest}, got {value}.")
        if not isinstance(self.tol, Real) or not 0 <= self.tol < 1:
            raise ValueError(f"tol must be in [0, 1), got {self.tol!r}.")
        if not isinstance(self.confidence, Real) or not 0 < self.confidence < 1:
            raise ValueError(f"confidence must be in (0, 1), got {self.confidence!r}.")


@dataclass(frozen=True)
class Ladder:
    """Which bounds to try, how hard, and until when.

    Attributes
    ----------
    method : str
        "auto", or the one rung to try; "none" for none.
    settings : CertificateSettings
    deadline : float or None
        Value of ``time.time`` at which to stop.
    most_divided : float
        Points up to which "auto" divides.
    """

    method: str = "auto"
    settings: CertificateSettings = field(default_factory=CertificateSettings)
    deadline: float | None = None
    most_divided: float = np.inf

    def admm(self, max_iter: int) -> AdmmSettings:
        return AdmmSettings(max_iter, stop_gap=self.settings.tol, stop_gain=1e-4, deadline=self.deadline)

    def parts(self, size: int) -> Parts:
        admm = self.admm(max(self.settings.max_iter // 4, 25))
        return Parts(size, admm, self.settings.n_jobs, self.settings.device)

    @property
    def part_size(self) -> int:
        return self.settings.part_size or (_PART_ROWS if self.deadline is None else _HASTY_PART_ROWS)

    @property
    def is_late(self) -> bool:
        return self.deadline is not None and time.time() > self.deadline


@dataclass
class Findings:
    """Bounds found so far, in the units of the points."""

    bounds: dict[str, float] = field(default_factory=dict)
    probable: float | None = None
    complete: bool = True

    @property
    def best(self) -> float:
        return max(self.bounds.values(), default=0.0)


def climb(points: Points, codes: np.ndarray, ladder: Ladder, known: dict[str, float]) -> Findings:
    """Try bounds until the gap is closed, all are tried, or time is up."""
    found, inertia, settings = Findings(dict(known)), partition_inertia(points, codes), ladder.settings
    random_state = check_random_state(settings.random_state)
    small = points.n_points <= _MOST_ADMM

    def is_next(name: str) -> bool:
        if name in known:
            return False
        if ladder.method != "auto":
            return ladder.method == name
        if found.best >= (1 - settings.tol) * inertia or name == ("division" if small else "admm"):
            return False
        if name == "division" and points.n_points > ladder.most_divided:
            return False
        found.complete = not ladder.is_late
        return found.complete

    if is_next("pca"):
        found.bounds["pca"] = pca_bound(points)
    if is_next("labels"):
        found.bounds["labels"] = label_bound(points, codes).value
    if is_next("admm"):
        relaxed = admm_from_labels(points, codes, ladder.admm(settings.max_iter), array_backend(settings.device))
        found.bounds["admm"] = relaxed.bound
        found.complete = not ladder.is_late or relaxed.converged
    if is_next("division"):
        value, found.complete = division_bound(points, codes, ladder.parts(ladder.part_size), random_state)
        found.bounds["division"] = value
    if ladder.method == "sketch":
        parts = ladder.parts(settings.sketch_size)
        found.probable = sketch_bound(points, inertia, settings.n_sketches, settings.confidence, parts, random_state)
        found.complete = not ladder.is_late
    return found


def certificate_fields(
    merged: MergedRows,
    codes: np.ndarray,
    inertia: float,
    ladder: Ladder,
    known: dict[str, float] | None = None,
) -> dict[str, Any]:
    """Fields of a `KMeansCertificate` for a clustering with this inertia, `codes` being one as good or better.

    `known` are bounds on points that are there already.
    """
    points = merged.points
    if points.is_trivial:
        value = points.total if points.n_clusters == 1 else 0.0
        found = Findings({"exact": value * (1 - points.n_points * np.finfo(np.float64).eps)})
    else:
        found = climb(points, codes, ladder, known or {})
    bounds = {name: merged.inertia(value) for name, value in found.bounds.items()}
    method = max(bounds, key=bounds.__getitem__, default="none")
    # Above the inertia of a clustering that exists a bound is only by rounding; one that is farther above is wrong.
    bound = bounds.get(method, 0.0)
    lower_bound = min(bound, inertia) if bound <= inertia * (1 + _LARGEST_EXCESS) else 0.0
    gap = (inertia - lower_bound) / inertia if inertia > 0 else 0.0
    return {
        "n_samples": int((merged.point_of >= 0).sum()),
        "n_clusters": points.n_clusters,
        "inertia": float(inertia),
        "lower_bound": float(lower_bound),
        "gap": float(gap),
        "certified": bool(gap <= ladder.settings.tol) and method != "none",
        "method": method,
        "bounds": bounds,
        "probable_bound": None if found.probable is None else merged.inertia(found.probable),
        "confidence": None if found.probable is None else ladder.settings.confidence,
        "complete": found.complete,
        "constrained": points.n_known > 0,
    }
