"""Short rules that tell a class from all other rows: shallow decision trees, read off as intervals of columns."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedKFold
from sklearn.tree import DecisionTreeClassifier

from ._columns import Columns, column_deviations, column_means

_DEPTH = 3
_N_FOLDS = 5
_SMALLEST_LEAF = 0.05
_ALWAYS = (-np.inf, np.inf)

# Column to (a value that is exceeded, a value that is not): all of them hold.
Box = dict[int, tuple[float, float]]


@dataclass(frozen=True)
class RuleRows:
    """Rows that rules are learned from: all of a table, or a sample of each class of a large one.

    Attributes
    ----------
    values : ndarray of shape (n_rows, n_columns)
        Without missing entries.
    codes : ndarray of shape (n_rows,)
        Class of each row.
    weight : ndarray of shape (n_rows,)
        Number of rows of the table that a row stands for.
    """

    values: np.ndarray
    codes: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True)
class Rule:
    """A row is of the class if it is in one of the boxes.

    Attributes
    ----------
    boxes : list of dict
        Column to a pair of bounds: larger than the first, at most the second.
    precision, recall : float
        On rows that the rule of the other folds has not seen; NaN where the class has too few rows for folds.
    precision_all, recall_all : float
        Of the rule itself, on all rows.
    """

    boxes: list[Box]
    precision: float
    recall: float
    precision_all: float
    recall_all: float


def sample_rows(columns: Columns, codes: np.ndarray, max_rows: int, random_state: np.random.RandomState) -> RuleRows:
    """All rows, or of a large table as many of each class, each standing for several."""
    if len(codes) <= max_rows:
        return RuleRows(columns.filled, codes, np.ones(len(codes)))
    classes, sizes = np.unique(codes, return_counts=True)
    quota = max(max_rows // len(classes), 1)
    rows, weight = [], []
    for code, size in zip(classes, sizes, strict=True):
        drawn = random_state.permutation(np.flatnonzero(codes == code))[:quota]
        rows.append(drawn)
        weight.append(np.full(len(drawn), size / len(drawn)))
    chosen = np.concatenate(rows)
    return RuleRows(columns.filled[chosen], codes[chosen], np.concatenate(weight))


def find_rule(rows: RuleRows, code: int, seed: int) -> Rule | None:
    """The rule of a class, None if there are no other rows or none of its own."""
    inside = rows.codes == code
    if inside.all() or not inside.any():
        return None
    boxes = learn_boxes(rows.values, inside, rows.weight, seed)
    everywhere = precision_recall(in_boxes(boxes, rows.values), inside, rows.weight)
    return Rule(boxes, *_on_held_out_rows(rows, inside, seed), *everywhere)


def _on_held_out_rows(rows: RuleRows, inside: np.ndarray, seed: int) -> tuple[float, float]:
    n_folds = min(_N_FOLDS, int(inside.sum()), int((~inside).sum()))
    if n_folds < 2:
        return np.nan, np.nan
    told = np.zeros(len(inside), dtype=bool)
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    for train, test in folds.split(rows.values, inside):
        boxes = learn_boxes(rows.values[train], inside[train], rows.weight[train], seed)
        told[test] = in_boxes(boxes, rows.values[test])
    return precision_recall(told, inside, rows.weight)


def precision_recall(told: np.ndarray, inside: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """Share of the rows told that are of the class, and share of the class that is told."""
    right = weight[told & inside].sum()
    n_told = weight[told].sum()
    return float(right / n_told) if n_told else 0.0, float(right / weight[inside].sum())


def learn_boxes(values: np.ndarray, inside: np.ndarray, weight: np.ndarray, seed: int) -> list[Box]:
    """Boxes in which most rows are of the class; if there is none, those in which it is overrepresented."""
    # Trees see float32, in which times in seconds are all alike and large numbers are infinite.
    mean = column_means(values)
    deviation = column_deviations(values, mean)
    scale = np.where(deviation > 0, deviation, 1.0)
    Z = ((values - mean) / scale).astype(np.float32)
    for class_weight in (None, "balanced"):
        tree = DecisionTreeClassifier(
            max_depth=_DEPTH,
            min_samples_leaf=max(1, int(_SMALLEST_LEAF * inside.sum())),
            class_weight=class_weight,
            random_state=seed,
        ).fit(Z, inside, sample_weight=weight)
        boxes = _read_boxes(tree.tree_, values, Z, mean, scale)
        if boxes:
            break
    return boxes


def _read_boxes(tree: Any, values: np.ndarray, Z: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> list[Box]:
    """Boxes of the leaves that vote for the class, of a tree fitted to `Z`; those split for nothing are one."""
    boxes: list[Box] = []

    def is_inside(node: int) -> bool:
        """Whether all leaves below a node vote for the class."""
        if tree.children_left[node] < 0:
            return bool(tree.value[node, 0].argmax())
        return is_inside(tree.children_left[node]) and is_inside(tree.children_right[node])

    def visit(node: int, box: Box) -> None:
        if is_inside(node):
            boxes.append(box)
        elif tree.children_left[node] >= 0:
            column = int(tree.feature[node])
            below = Z[:, column] <= tree.threshold[node]
            threshold = tree.threshold[node] * scale[column] + mean[column]
            threshold = short_threshold(float(threshold), values[:, column], below)
            low, high = box.get(column, _ALWAYS)
            visit(tree.children_left[node], box | {column: (low, min(high, threshold))})
            visit(tree.children_right[node], box | {column: (max(low, threshold), high)})

    visit(0, {})
    return [box for box in join_boxes(boxes) if box]


def join_boxes(boxes: list[Box]) -> list[Box]:
    """The same rows in fewer boxes: two that differ in one column only, and touch in it, are one."""
    for first, second in permutations(boxes, 2):
        apart = [i for i in first | second if first.get(i, _ALWAYS) != second.get(i, _ALWAYS)]
        if len(apart) == 1 and first.get(apart[0], _ALWAYS)[1] == second.get(apart[0], _ALWAYS)[0]:
            bounds = (first.get(apart[0], _ALWAYS)[0], second.get(apart[0], _ALWAYS)[1])
            joined = {i: both for i, both in (first | {apart[0]: bounds}).items() if both != _ALWAYS}
            return join_boxes([joined, *(box for box in boxes if box is not first and box is not second)])
    return boxes


def short_threshold(threshold: float, values: np.ndarray, below: np.ndarray) -> float:
    """The number near `threshold` with fewest digits, for which the values up to it are those that are `below`."""
    for digits in range(1, 17):
        short = float(f"{threshold:.{digits}g}")
        if np.array_equal(values <= short, below):
            return short
    return float(values[below].max())


def in_boxes(boxes: list[Box], values: np.ndarray) -> np.ndarray:
    """Which rows are in one of the boxes."""
    told = np.zeros(len(values), dtype=bool)
    for box in boxes:
        here = np.ones(len(values), dtype=bool)
        for column, (low, high) in box.items():
            here &= (values[:, column] > low) & (values[:, column] <= high)
        told |= here
    return told


def rule_text(boxes: list[Box], columns: Columns) -> str:
    """A rule in words: ``"income > 1500 and city is Paris, or ..."``."""
    return ", or ".join(
        " and ".join(_condition(columns.names[i], columns.texts[i], *bounds) for i, bounds in box.items())
        for box in boxes
    )


def _condition(name: str, text: tuple[str, str] | None, low: float, high: float) -> str:
    if text is not None:
        return f"{text[0]} is {text[1]}" if low >= 0 else f"{text[0]} is not {text[1]}"
    if low == -np.inf:
        return f"{name} ≤ {_in_digits(high)}"
    if high == np.inf:
        return f"{name} > {_in_digits(low)}"
    return f"{_in_digits(low)} < {name} ≤ {_in_digits(high)}"


def _in_digits(value: float) -> str:
    """All digits of a number, so that the text says what the rule does."""
    return repr(value).removesuffix(".0")
