"""What a reader of the report is to be careful about."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._columns import Columns

_TINY_SHARE = 0.01
_TINY_SIZE = 5
_SMALL_DIFFERENCE = 0.5
_UNSTABLE = 0.6
_POOR_RULE = 0.5
_MANY_DISAGREE = 0.1
_MAX_LISTED = 8


def find_warnings(report: Any, columns: Columns) -> list[str]:
    """Sentences about classes, then labels, then columns."""
    found: list[str] = []
    if len(report.classes_) == 1:
        found.append("There is one class only, so nothing sets it apart.")
    for code, name in enumerate(report.classes_.tolist()):
        found += _about_class(report, code, str(name))
    n_labeled = int(report.confusion_.sum())
    if len(report.disagreeing_rows_) > _MANY_DISAGREE * n_labeled:
        found.append(
            f"The model disagrees with {len(report.disagreeing_rows_):,} of {n_labeled:,} labels: labels may be wrong, "
            "or the columns do not tell the known classes apart."
        )
    return found + _about_columns(columns)


def _about_class(report: Any, code: int, name: str) -> list[str]:
    size, share = report.sizes_[code], report.shares_[code]
    if not size:
        return [f"Class {name} has no row in this table."]
    found = []
    if size < _TINY_SIZE or share < _TINY_SHARE:
        rows = "row" if size == 1 else "rows"
        found.append(f"Class {name} is tiny: {size:,} {rows}, {share:.1%} of the table.")
    if report.stability_ is not None and report.stability_[code] < _UNSTABLE:
        found.append(
            f"Class {name} is unstable: refits to parts of the rows find it again with a Jaccard similarity of only "
            f"{report.stability_[code]:.2f}."
        )
    differences = np.abs(report.differences_[code])
    if np.isfinite(differences).any() and not np.nanmax(differences) >= _SMALL_DIFFERENCE:
        found.append(
            f"No column alone sets class {name} apart: the largest difference is {np.nanmax(differences):.2f} standard "
            "deviations."
        )
    rule = report.rules_[code]
    if rule is not None and min(rule["precision"], rule["recall"]) < _POOR_RULE:
        found.append(f"No short rule describes class {name} well.")
    return found


def _about_columns(columns: Columns) -> list[str]:
    found = []
    constant = [name for name, varies in zip(columns.names, columns.varies, strict=True) if not varies]
    if constant:
        found.append(f"Of one value only, and so without difference between classes: {_listed(constant)}.")
    if columns.left_out:
        found.append(f"Dates or times, which are not described: {_listed(columns.left_out)}.")
    missing = np.isnan(columns.values).sum(axis=0)
    if missing.any():
        names = [f"{columns.names[i]} ({missing[i]:,})" for i in np.flatnonzero(missing)]
        found.append(
            f"Missing numbers, read as the median of their column in rules and as its mean in distances: "
            f"{_listed(names)}."
        )
    return found


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(names[:_MAX_LISTED]) + more
