"""What the columns of a table are: labels, numbers, text, or nothing to compare rows by."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ._messages import Refusal, listed, nearest, note, require, shown

MAX_CATEGORIES = 30
_EMPTY_NUMBERS = {"", "na", "n/a", "#n/a", "nan", "null", "none", "<na>"}
_DATE = re.compile(r"(\d{4}([-/]\d{1,2}){2}|\d{1,2}([-/.])\d{1,2}\3\d{4})([T ].*)?")
# Signs that stand beside a number in a table made for people.
_SIGN = r"[$\u20ac\u00a3\u00a5%]"
# Numbers with a decimal comma, or with thousands set apart, beside one.
_COMMA_NUMBER = re.compile(
    r"[+-]?(\d+,\d+([eE][+-]?\d+)?|\d{1,3}(,\d{3})+(\.\d+)?|\d{1,3}([. '\u00a0\u202f]\d{3})+,\d+)"
)
_LARGEST = 1e150  # The squares of larger numbers, summed over many rows, overflow.
_TEXT_KINDS = {"string", "boolean"}
_NUMBER_KINDS = {"integer", "floating", "mixed-integer-float", "decimal"}
_TIME_KINDS = {"datetime64", "datetime", "date", "time", "timedelta64", "timedelta", "period", "interval"}


@dataclass
class Features:
    """Columns by which rows are compared, and what became of the others.

    Attributes
    ----------
    numbers, text : dict of str to ndarray of shape (n_rows,)
        Columns as floats (NaN: empty) and as text ("": empty).
    left_out : dict of str to list of str
        Columns that are not used, by the reason.
    n_empty : dict of str to int
        Number of empty cells of the columns that have any.
    n_values : dict of str to int
        Number of distinct texts of the columns with more than are told apart.
    """

    numbers: dict[str, np.ndarray] = field(default_factory=dict)
    text: dict[str, np.ndarray] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    n_empty: dict[str, int] = field(default_factory=dict)
    n_values: dict[str, int] = field(default_factory=dict)

    def frame(self) -> Any:
        return require("pandas").DataFrame(self.numbers | self.text)

    def leave_out(self, name: str, reason: str) -> None:
        self.left_out.setdefault(reason, []).append(name)

    def reasons(self) -> list[str]:
        """One line for each reason to leave columns out."""
        return [f"left out, {reason}: {listed(names)}" for reason, names in self.left_out.items()]

    def add_numbers(self, name: str, numbers: np.ndarray) -> None:
        empty = np.isnan(numbers)
        given = numbers[~empty]
        if not len(given):
            self.leave_out(name, "all cells empty")
        elif given.min() == given.max():
            self.leave_out(name, "one value only")
        elif len(numbers) > 2 and (np.diff(numbers) == 1).all():
            self.leave_out(name, "counts the rows")
        else:
            self.numbers[name] = numbers
            self._count_empty(name, empty)

    def add_text(self, name: str, texts: np.ndarray) -> None:
        given = texts[texts != ""].tolist()
        n_values = len(set(texts.tolist()))
        if not given:
            self.leave_out(name, "all cells empty")
        elif n_values == 1:
            self.leave_out(name, "one value only")
        elif len(set(given)) == len(given) > 1:
            self.leave_out(name, "no text occurs twice")
        elif all(map(_DATE.fullmatch, given)):
            self.leave_out(name, "dates or times")
        else:
            self.text[name] = texts
            self._count_empty(name, texts == "")
            if n_values > MAX_CATEGORIES:
                self.n_values[name] = n_values

    def _count_empty(self, name: str, empty: np.ndarray) -> None:
        if empty.any():
            self.n_empty[name] = int(empty.sum())


def read_labels(column: Any, unlabeled: list[str]) -> np.ndarray:
    """Class of each row as text, None for a row without."""
    texts = as_text(column)
    occurring = set(texts.tolist()) - {""}
    for value in unlabeled:
        if value not in {"", *occurring}:
            near = nearest(value, occurring, n=1)
            hint = f"; the nearest is {listed(near)}" if near else ""
            note(f"--unlabeled {value!r}: no cell of {column.name!r} is that{hint}")
    labels = np.array([None if text in {"", *unlabeled} else text for text in texts.tolist()], dtype=object)
    if None not in labels.tolist():
        raise Refusal(
            f"every row of {column.name!r} has a label, so there is nothing to discover; if one of the labels stands "
            "for 'no label', name it with --unlabeled VALUE"
        )
    return labels


def read_features(frame: Any, table: str, not_compared: dict[str, str]) -> Features:
    """Sort the columns into numbers, text, and those left out; `not_compared` gives reasons by name ("": unsaid)."""
    features = Features()
    for name in frame.columns:
        if name not in not_compared:
            _add_column(features, frame[name])
        elif not_compared[name]:
            features.leave_out(name, not_compared[name])
    if not features.numbers and not features.text:
        reasons = f" ({'; '.join(features.reasons())})" if features.left_out else ""
        raise Refusal(f"{table} has no column left to compare rows by{reasons}")
    return features


def _add_column(features: Features, column: Any) -> None:
    pd = require("pandas")
    is_category = isinstance(column.dtype, pd.CategoricalDtype)
    kind = "string" if is_category else pd.api.types.infer_dtype(column.astype(object), skipna=True)
    if kind in _TIME_KINDS:
        features.leave_out(column.name, "dates or times")
    elif kind not in _TEXT_KINDS | _NUMBER_KINDS:
        features.leave_out(column.name, "all cells empty" if kind == "empty" else "neither numbers nor text")
    elif kind in _NUMBER_KINDS:
        features.add_numbers(column.name, as_numbers(column)[0])
    elif kind == "boolean" or is_category or isinstance(column.dtype, pd.ArrowDtype):
        features.add_text(column.name, as_text(column))
    else:
        # From a text file: what the cells are has to be read off them.
        numbers, is_text = as_numbers(column)
        if not is_text.any():
            features.add_numbers(column.name, numbers)
        else:
            _note_numbers_read_as_text(column, numbers, is_text)
            features.add_text(column.name, as_text(column))


def _is_signed_number(text: str) -> bool:
    """Whether a text is a number but for one sign of a currency or percent."""
    bare, n_signs = re.subn(_SIGN, "", text.strip())
    bare = bare.strip()
    return n_signs == 1 and bool(_COMMA_NUMBER.fullmatch(bare) or re.fullmatch(r"[+-]?\d+(\.\d+)?", bare))


def _note_numbers_read_as_text(column: Any, numbers: np.ndarray, is_text: np.ndarray) -> None:
    """Say so when a column of numbers is read as text because of commas, signs or a few cells."""
    rows, n_numbers = np.flatnonzero(is_text), int((~np.isnan(numbers)).sum())
    with_sign = [row for row in rows.tolist() if _is_signed_number(column.iloc[row])]
    if 2 * len(with_sign) > len(rows):
        row = with_sign[0]
        note(
            f"column {column.name!r} holds numbers with a sign, such as '{shown(column.iloc[row])}' in row {row + 1} "
            f"({len(with_sign):,} of {len(column):,} cells): it is read as text; to compare it as numbers, write them "
            "without, as in 1234.5"
        )
        return
    with_comma = [row for row in rows.tolist() if _COMMA_NUMBER.fullmatch(column.iloc[row].strip())]
    if 2 * len(with_comma) > len(rows) and 2 * (len(with_comma) + n_numbers) > len(rows) + n_numbers:
        row = with_comma[0]
        note(
            f"column {column.name!r} holds numbers with a comma, such as '{shown(column.iloc[row])}' in row {row + 1} "
            f"({len(with_comma):,} of {len(column):,} cells): it is compared as text; to compare it as numbers, write "
            "them with a decimal point and nothing between thousands, as in 1234.5"
        )
    elif len(rows) < n_numbers:
        row = int(rows[0])
        note(
            f"column {column.name!r} holds numbers, but '{shown(column.iloc[row])}' in row {row + 1} (text in "
            f"{len(rows):,} of {len(column):,} cells): it is compared as text; empty such cells to compare it "
            "as numbers"
        )


def as_text(column: Any) -> np.ndarray:
    """Cells as text, "" for an empty one; floats that are all whole numbers were integers with gaps."""
    empty = column.isna().to_numpy(dtype=bool)
    values = column.astype(object).to_numpy()
    empty = empty | np.array([isinstance(value, float) and value != value for value in values], dtype=bool)
    whole = all(value.is_integer() for value in values[~empty] if isinstance(value, float))
    texts = [
        "" if gone else str(int(value)) if whole and isinstance(value, float) else str(value)
        for value, gone in zip(values, empty, strict=True)
    ]
    return np.array(texts, dtype=object)


def as_numbers(column: Any) -> tuple[np.ndarray, np.ndarray]:
    """(cells as floats, NaN for an empty one; which cells are neither numbers nor empty)."""
    numbers = require("pandas").to_numeric(column.astype(object), errors="coerce").to_numpy(float, na_value=np.nan)
    is_text = np.isnan(numbers)
    is_text[is_text] = [text.strip().lower() not in _EMPTY_NUMBERS for text in as_text(column[is_text])]
    too_large = np.flatnonzero(np.abs(numbers) > _LARGEST)
    if len(too_large) and not is_text.any():
        row = int(too_large[0])
        what = (
            "an infinite number"
            if np.isinf(numbers[row])
            else f"a number too large to compare rows by, {numbers[row]},"
        )
        raise Refusal(f"column {column.name!r} holds {what} in row {row + 1}")
    return numbers, is_text


def known_features(frame: Any, numbers: list[str], text: list[str]) -> Features:
    """Columns of new rows, as a model was fitted on."""
    features = Features()
    for name in numbers:
        features.numbers[name], is_text = as_numbers(frame[name])
        if is_text.any():
            row = int(np.flatnonzero(is_text)[0])
            raise Refusal(
                f"column {name!r} holds '{shown(str(frame[name].iloc[row]))}' in row {row + 1}, where the model "
                "expects a number"
            )
    for name in text:
        features.text[name] = as_text(frame[name])
    return features
