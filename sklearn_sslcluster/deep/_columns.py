"""Columns of different kinds: how they enter a network, and how likely they are under its outputs. No torch here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import numpy as np
from scipy.special import expit, log_softmax, softmax

from ..base import TableKinds
from ..neural import training_rows

KINDS = ("gaussian", "bernoulli", "categorical")
_LOG_2PI = float(np.log(2 * np.pi))
_MOST_CONSTANT = 16 * np.finfo(np.float64).eps
# Columns none of which is wider than so many times their median share one scale.
_COMPARABLE = 10.0
_NO_TYPES = TableKinds()


@dataclass(frozen=True)
class Columns:
    """Kinds of the columns of a table. Each is one input and output of the network, a categorical one several.

    Attributes
    ----------
    kinds : list of str
        One a column.
    categories : list of ndarray
        Sorted values of each categorical column, as numbers; empty for the others.
    texts : dict of int to ndarray of str
        What the categories 0, 1, ... of a column of text are called.
    """

    kinds: list[str]
    categories: list[np.ndarray]
    texts: dict[int, np.ndarray] = field(default_factory=dict)

    @classmethod
    def named(cls, kinds: list[str], categories: list[np.ndarray]) -> Columns:
        """Columns whose categories are given as `named_categories`."""
        texts = {j: values for j, values in enumerate(categories) if values.dtype.kind == "U"}
        return cls(kinds, [_numbers(values) for values in categories], texts)

    @property
    def named_categories(self) -> list[np.ndarray]:
        """Categories by the texts of the table."""
        return [self.texts.get(j, values) for j, values in enumerate(self.categories)]

    def as_in_table(self, X: np.ndarray) -> np.ndarray:
        """Rows with their texts; an array of numbers where no column is text."""
        if not self.texts:
            return X
        out = X.astype(object)
        for j, texts in self.texts.items():
            out[:, j] = texts.astype(object)[X[:, j].astype(np.intp)]
        return out

    @property
    def widths(self) -> np.ndarray:
        """Inputs of each column."""
        return np.array([max(len(values), 1) for values in self.categories], dtype=np.intp)

    @property
    def n_inputs(self) -> int:
        return int(self.widths.sum())

    @property
    def groups(self) -> list[np.ndarray]:
        """Positions of each column among the inputs."""
        return np.split(np.arange(self.n_inputs), np.cumsum(self.widths)[:-1])

    def positions(self, kind: str) -> np.ndarray:
        """Inputs of the columns of a kind."""
        found = [group for group, own in zip(self.groups, self.kinds, strict=True) if own == kind]
        return np.concatenate(found) if found else np.empty(0, dtype=np.intp)

    @property
    def categorical_groups(self) -> list[np.ndarray]:
        return [group for group, own in zip(self.groups, self.kinds, strict=True) if own == "categorical"]

    @property
    def is_plain(self) -> bool:
        """Whether every column is one number."""
        return "categorical" not in self.kinds

    def expand(self, X: np.ndarray) -> np.ndarray:
        """Inputs of rows, NaN where an entry is missing.

        Raises
        ------
        ValueError
            If a Bernoulli column leaves [0, 1], or a categorical one holds a value that it did not have in training.
        """
        X = np.asarray(X, dtype=np.float64)
        for column, kind in enumerate(self.kinds):
            values = X[:, column]
            if kind == "bernoulli" and ((values < 0) | (values > 1)).any():
                raise ValueError(
                    f"Column {column} has a Bernoulli likelihood and holds {values[(values < 0) | (values > 1)][0]}; "
                    "expected values in [0, 1]."
                )
        if self.is_plain:
            return X
        out = np.empty((len(X), self.n_inputs))
        for column, group in enumerate(self.groups):
            values = X[:, column]
            if self.kinds[column] != "categorical":
                out[:, group[0]] = values
                continue
            unknown = ~np.isnan(values) & ~np.isin(values, self.categories[column])
            if unknown.any():
                raise ValueError(
                    f"Column {column} holds {values[unknown][0]}, which is not among the {len(group)} categories of "
                    "the training rows; NaN stands for a value that is not known."
                )
            hot = values[:, None] == self.categories[column]
            out[:, group] = np.where(np.isnan(values)[:, None], np.nan, hot)
        return out

    def log_likelihood(self, outputs: np.ndarray, inputs: np.ndarray, standard: Standard) -> np.ndarray:
        """Log likelihood of the entries that are there, summed over each row, in the units of the table."""
        columns = self.positions("gaussian")
        total = -0.5 * self._square_residuals(outputs, inputs, standard).sum(axis=1)
        constant = 0.5 * (_LOG_2PI + np.log(standard.noise)) + np.log(standard.scale[columns])
        total -= (~np.isnan(inputs[:, columns])) @ constant
        return total + sum(values for values in self._discrete(outputs, inputs))

    def square_residuals(self, outputs: np.ndarray, inputs: np.ndarray, standard: Standard) -> np.ndarray:
        """Squared residuals in units of the noise, and twice the surprise of other columns, summed over each row."""
        total = self._square_residuals(outputs, inputs, standard).sum(axis=1)
        return total - 2 * sum(values for values in self._discrete(outputs, inputs))

    def draw(self, outputs: np.ndarray, standard: Standard, random_state: np.random.RandomState) -> np.ndarray:
        """Rows of the table drawn given outputs of the decoder."""
        X = np.empty((len(outputs), len(self.kinds)))
        noise = iter(standard.noise)
        for column, (kind, group) in enumerate(zip(self.kinds, self.groups, strict=True)):
            values = outputs[:, group]
            if kind == "gaussian":
                drawn = values[:, 0] + np.sqrt(next(noise)) * random_state.normal(size=len(values))
                X[:, column] = standard.mean[group[0]] + standard.scale[group[0]] * drawn
            elif kind == "bernoulli":
                X[:, column] = random_state.uniform(size=len(values)) < expit(values[:, 0])
            else:
                below = softmax(values, axis=1).cumsum(axis=1)[:, :-1]
                chosen = (random_state.uniform(size=(len(values), 1)) > below).sum(axis=1)
                X[:, column] = self.categories[column][chosen]
        return X

    def _square_residuals(self, outputs: np.ndarray, inputs: np.ndarray, standard: Standard) -> np.ndarray:
        columns = self.positions("gaussian")
        expected = (inputs[:, columns] - standard.mean[columns]) / standard.scale[columns]
        return np.nan_to_num((expected - outputs[:, columns]) ** 2 / standard.noise, nan=0.0, posinf=np.inf)

    def _discrete(self, outputs: np.ndarray, inputs: np.ndarray) -> Iterator[np.ndarray]:
        """Log likelihoods of the columns that are not Gaussian."""
        yield np.zeros(len(outputs))
        columns = self.positions("bernoulli")
        if len(columns):
            logits = outputs[:, columns]
            yield np.nansum(
                inputs[:, columns] * logits - np.logaddexp(0, logits) * ~np.isnan(inputs[:, columns]), axis=1
            )
        for group in self.categorical_groups:
            yield np.nansum(inputs[:, group] * log_softmax(outputs[:, group], axis=1), axis=1)


@dataclass(frozen=True)
class Standard:
    """How inputs are standardized, and the noise of the Gaussian ones.

    Attributes
    ----------
    mean, scale : ndarray of shape (n_inputs,)
    noise : ndarray of shape (n_gaussian,)
        Variances, in units of the squared scales.
    """

    mean: np.ndarray
    scale: np.ndarray
    noise: np.ndarray

    def apply(self, inputs: np.ndarray) -> np.ndarray:
        """Standardized inputs, 0 where an entry is missing."""
        return np.nan_to_num((inputs - self.mean) / self.scale, nan=0.0, posinf=np.inf, neginf=-np.inf)


@dataclass(frozen=True)
class TrainingTable:
    """Rows to train on with their labels, in an order that does not depend on that of the table.

    Attributes
    ----------
    inputs : ndarray of shape (n_rows, n_inputs)
        NaN where an entry is missing.
    codes : ndarray of shape (n_rows,)
        -1 for unlabeled rows.
    """

    inputs: np.ndarray
    codes: np.ndarray

    @property
    def observed(self) -> np.ndarray | None:
        """Where an entry is there; None if all are."""
        observed = ~np.isnan(self.inputs)
        return None if observed.all() else observed


def training_table(inputs: np.ndarray, codes: np.ndarray) -> TrainingTable:
    missing = np.isnan(inputs)
    filled = np.hstack([np.where(missing, 0.0, inputs), missing[:, missing.any(axis=0)]])
    rows = training_rows(filled, codes)
    return TrainingTable(inputs[rows], codes[rows])


def measure(table: TrainingTable, columns: Columns) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scale of the inputs.

    Gaussian columns of comparable width (pixels, embeddings) share one scale, since one each would blow up those that
    hardly vary; otherwise each has its own. So do Bernoulli columns. Constant columns have 1.
    """
    observed = ~np.isnan(table.inputs)
    total = observed.sum(axis=0)
    mean = np.where(observed, table.inputs, 0.0).sum(axis=0) / total
    differences = np.where(observed, table.inputs - mean, 0.0)
    # A second step takes back what rounding has left in the mean of values far from 0.
    mean = mean + differences.sum(axis=0) / total
    differences = np.where(observed, table.inputs - mean, 0.0)
    with np.errstate(over="ignore"):
        width = np.sqrt((differences**2).sum(axis=0) / total)
    if not np.isfinite(width).all():
        raise ValueError("X holds values so large that their squares overflow; scale its columns.")
    varies = width > _MOST_CONSTANT * np.abs(mean)
    scale = np.where(varies, width, 1.0)
    for kind in ("gaussian", "bernoulli"):
        own = columns.positions(kind)
        own = own[varies[own]]
        if len(own) and width[own].max() <= _COMPARABLE * np.median(width[own]):
            scale[own] = np.sqrt(np.mean(width[own] ** 2))
    return mean, scale


def shares_noise(scale: np.ndarray) -> bool:
    """Whether Gaussian columns of these scales have one noise variance: where they have one scale.

    Constant columns do not count.
    """
    return len(np.unique(scale)) == 1


def column_kinds(likelihood: Any, n_features: int, names: list[str] | None) -> list[str]:
    """Kind of each column that a parameter ``likelihood`` stands for.

    Raises
    ------
    ValueError
        If it names an unknown kind or column, or has another length than the table has columns.
    TypeError
        If it is neither a string, a list nor a dict.
    """
    if isinstance(likelihood, str):
        kinds = [likelihood] * n_features
    elif isinstance(likelihood, dict):
        kinds = ["gaussian"] * n_features
        for column, kind in likelihood.items():
            kinds[_position(column, n_features, names)] = kind
    elif isinstance(likelihood, list | tuple | np.ndarray):
        kinds = list(likelihood)
        if len(kinds) != n_features:
            raise ValueError(f"likelihood names {len(kinds)} columns, but X has {n_features} features.")
    else:
        raise TypeError(f"likelihood must be a string, a list or a dict, got a {type(likelihood).__name__}.")
    for column, kind in enumerate(kinds):
        if kind not in KINDS:
            raise ValueError(f"likelihood of column {column} must be one of {', '.join(KINDS)}, got {kind!r}.")
    return [str(kind) for kind in kinds]


def _position(column: Any, n_features: int, names: list[str] | None) -> int:
    if isinstance(column, Integral) and 0 <= int(column) < n_features:
        return int(column)
    if names is not None and column in names:
        return names.index(column)
    raise ValueError(f"likelihood names the column {column!r}, which X does not have.")


def _numbers(categories: np.ndarray) -> np.ndarray:
    return np.arange(len(categories), dtype=np.float64) if categories.dtype.kind == "U" else categories


def fitted_columns(likelihood: Any, X: np.ndarray, names: list[str] | None, types: TableKinds = _NO_TYPES) -> Columns:
    """Kinds of the columns, with the categories that the training rows hold.

    Raises
    ------
    ValueError
        If `likelihood` does not fit to `X`, or a column has no observed entry.
    """
    empty = np.flatnonzero(np.isnan(X).all(axis=0))
    if len(empty):
        raise ValueError(f"Column {empty[0]} of X holds nothing but NaN; leave it out.")
    kinds = column_kinds(likelihood, X.shape[1], names)
    said = _said_of_each(likelihood, X.shape[1], names)
    for j in types.categorical:
        if said[j] is None:
            kinds[j] = "categorical"
        elif j in types.texts and kinds[j] != "categorical":
            column = j if names is None else repr(names[j])
            raise ValueError(f"likelihood of column {column} is {kinds[j]!r}, but it holds text: a categorical column.")
    categories = [
        np.unique(values[~np.isnan(values)]).astype(np.float64) if kind == "categorical" else np.empty(0)
        for kind, values in zip(kinds, X.T, strict=True)
    ]
    return Columns(kinds, categories, types.texts)


def _said_of_each(likelihood: Any, n_features: int, names: list[str] | None) -> list[Any]:
    """What `likelihood` says of each column by itself; None where nothing."""
    if isinstance(likelihood, dict):
        kinds = {_position(column, n_features, names): kind for column, kind in likelihood.items()}
        return [kinds.get(j) for j in range(n_features)]
    return [None] * n_features if isinstance(likelihood, str) else list(likelihood)
