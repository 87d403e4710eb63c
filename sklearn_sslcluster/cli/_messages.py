"""What the command says: refusals, notes, names made fit for a terminal, and plain tables."""

from __future__ import annotations

import difflib
import re
import sys
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any

_WIDTH = 88
_LONGEST_NAME = 40
_MAX_LISTED = 12


class Refusal(Exception):
    """What was asked for cannot be done; the message is one line for the user."""


def require(name: str, extra: str = "cli") -> ModuleType:
    """Module of an optional package, which comes with an extra."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        if error.name != package:
            raise
        raise Refusal(f'this needs {package}, which comes with: pip install "sklearn-sslcluster[{extra}]"') from error


def note(text: str) -> None:
    """Tell the user something that is no error."""
    print(f"note: {text}", file=sys.stderr)


@contextmanager
def warnings_as_notes(words: dict[str, str]) -> Iterator[None]:
    """Print warnings meant for users as notes, and no others; `words` are put into those of the command."""
    pattern = re.compile(rf"\b({'|'.join(words)})\b")

    def show_note(message: Any, *rest: Any, **more: Any) -> None:
        note(pattern.sub(lambda word: words[word[0]], one_line(message)))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = show_note
        yield


def one_line(message: Any) -> str:
    """Text of a message or exception in one line."""
    if isinstance(message, OSError) and message.strerror and message.filename:
        return f"{message.filename}: {message.strerror}"
    return " ".join(str(message).split()) or type(message).__name__


def shown(name: str, longest: int = _LONGEST_NAME) -> str:
    """Name as it can be printed: no control characters, not too long."""
    name = "".join(char if char.isprintable() else repr(char)[1:-1] for char in name)
    return name if len(name) <= longest else f"{name[: longest - 3]}..."


def listed(names: Iterable[str]) -> str:
    """Names in quotes, the first of them if they are many."""
    names = list(names)
    more = f" and {len(names) - _MAX_LISTED:,} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(f"'{shown(name)}'" for name in names[:_MAX_LISTED]) + more


def nearest(name: str, names: Iterable[str], n: int = 3) -> list[str]:
    """Names that look like `name`, upper and lower case aside."""
    by_lower_case = {candidate.lower(): candidate for candidate in names}
    return [by_lower_case[key] for key in difflib.get_close_matches(name.lower(), by_lower_case, n=n, cutoff=0.5)]


def wrapped(text: str) -> str:
    """Paragraph folded to the width of a page."""
    return textwrap.fill(text, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table: the first column to the left, the others to the right."""
    rows = [[shown(first), *others] for first, *others in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]


def show(lines: Iterable[str]) -> None:
    """Print lines; characters that the terminal cannot show are escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    for line in lines:
        print(line.rstrip().encode(encoding, "backslashreplace").decode(encoding))
