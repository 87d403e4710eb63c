"""The report as HTML: a page of its own, or a part of a notebook. All text of the data passes through `safe`."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from ._picture import N_COLORS, picture
from ._style import STYLE

_N_TELLING = 8
_MAX_ROWS_LISTED = 20
_LONGEST = 80
_MAX_CLASSES_OPEN = 12


def page(report: Any) -> str:
    """A whole page; its policy forbids scripts and anything from elsewhere."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{_title(report)}</title>\n</head>\n<body>\n{fragment(report, is_page=True)}\n</body>\n</html>\n"
    )


def fragment(report: Any, *, is_page: bool = False) -> str:
    """The style sheet and the sections, which are the same in a page and in a notebook."""
    tag = "main" if is_page else "div"
    margin = "<style>body{margin:0}</style>" if is_page else ""
    sections = [
        f"<style>{STYLE}</style>{margin}",
        f'<{tag} class="sslcluster-report">',
        f"<h1>{_title(report)}</h1>",
        _summary(report),
        _warnings(report),
        _overview(report),
        _picture(report),
        *(_class_section(report, code) for code in range(len(report.classes_))),
        _doubtful(report),
        _comparison(report),
        f"</{tag}>",
    ]
    text = "\n".join(section for section in sections if section)
    if not is_page:
        # Below the headings of the notebook. The data holds no such text: its angle brackets are escaped.
        for level in (2, 1):
            text = text.replace(f"<h{level}>", f"<h{level + 2}>").replace(f"</h{level}>", f"</h{level + 2}>")
    return text


def safe(value: Any, longest: int = _LONGEST) -> str:
    """Text for a page: cut to a length, without control characters, and nothing in it is read as HTML."""
    text = "".join(character if character.isprintable() else "\ufffd" for character in str(value))
    return escape(text if len(text) <= longest else f"{text[: longest - 1]}…")


def _title(report: Any) -> str:
    return f"Classes found by {safe(report.model_name_)}"


def _summary(report: Any) -> str:
    n_novel, n_labeled = int(report.is_novel_.sum()), int(report.confusion_.sum())
    n_known = len(report.classes_) - n_novel
    return (
        f"<p>{len(report.labels_):,} rows, {n_labeled:,} of them labeled; {n_known} known and {n_novel} novel classes, "
        f"described by {len(report.feature_names_):,} columns. Row numbers count from 0.</p>"
    )


def _warnings(report: Any) -> str:
    if not report.warnings_:
        return ""
    items = "".join(f"<li>{safe(text, 2000)}</li>" for text in report.warnings_)
    return f"<section><h2>Be careful</h2><ul>{items}</ul></section>"


def _overview(report: Any) -> str:
    head = ["", "class", "kind", "rows", "share", "confidence"]
    stability = report.stability_
    head += ["stability"] if stability is not None else []
    confidence = report._mean_confidence()
    lines = []
    for code, name in enumerate(report.classes_.tolist()):
        line = [_mark(report, code), safe(name), _kind(report, code), f"{report.sizes_[code]:,}"]
        line += [f"{report.shares_[code]:.1%}", _number(confidence[code])]
        line += [_number(stability[code])] if stability is not None else []
        lines.append(line)
    kinds = {
        "predict_proba": "the probability that the model gives to its class",
        "margin": "0 between two classes, 1 at the mean of one",
    }
    note = f"Confidence: {kinds[report.confidence_kind_]}, mean of the rows."
    if stability is not None:
        note += " Stability: Jaccard similarity with the class that refits to parts of the rows find again."
    return f"<section><h2>Classes</h2>{_table('Classes and their sizes', head, lines)}<p>{note}</p></section>"


def _picture(report: Any) -> str:
    drawn = picture(report.embedding_, report._codes, report.is_novel_)
    return (
        f"<section><h2>Rows in a plane</h2><figure>{drawn}<figcaption>First two principal components of the "
        "standardized columns. Circles are rows of known classes, diamonds of novel ones; numbers are those of the "
        "table of classes. Classes that overlap here may be apart in other directions.</figcaption></figure></section>"
    )


def _class_section(report: Any, code: int) -> str:
    name, size = safe(report.classes_.tolist()[code]), report.sizes_[code]
    title = f"{_mark(report, code)} {_kind(report, code)} class {name}: {size:,} rows, {report.shares_[code]:.1%}"
    is_open = " open" if report.is_novel_[code] and code < _MAX_CLASSES_OPEN else ""
    body = [_rule(report.rules_[code])]
    if np.isfinite(report.differences_[code]).any():
        telling = np.argsort(-np.abs(np.nan_to_num(report.differences_[code])), kind="stable")[:_N_TELLING]
        body += [_differences(report, code, telling), _prototypes(report, code, telling)]
    elif size:
        body.append(_prototypes(report, code, np.arange(min(_N_TELLING, len(report.feature_names_)))))
    return f"<details{is_open}><summary><h2>{title}</h2></summary>{''.join(body)}</details>"


def _rule(rule: dict | None) -> str:
    if rule is None:
        return "<p>No rule: there are no other rows to tell it from, or none of its own.</p>"
    told = "too few rows to measure it on others than it was learned from"
    if rule["precision"] == rule["precision"]:
        told = f"{rule['precision']:.0%} of the rows it picks are right, it picks {rule['recall']:.0%} of the class"
        told += " (on rows it was not learned from)"
    return f"<p>Rule: <strong>{safe(rule['text'], 2000)}</strong></p><p>{told[0].upper()}{told[1:]}.</p>"


def _differences(report: Any, code: int, telling: np.ndarray) -> str:
    lines = []
    for i in telling:
        values = [_value(report, part[code, i], i) for part in (report._here, report._elsewhere)]
        lines.append([safe(report.feature_names_[i]), *values, f"{report.differences_[code, i]:+.2f}"])
    caption = "What sets it apart: mean of numbers, share of rows with a text; difference in standard deviations"
    return _table(caption, ["column", "here", "elsewhere", "difference"], lines)


def _prototypes(report: Any, code: int, telling: np.ndarray) -> str:
    rows = report.prototypes_[code]
    if not len(rows):
        return ""
    lines = [
        [f"{row:,}", *(_value(report, values[i], i, one_row=True) for i in telling)]
        for row, values in zip(rows.tolist(), report._prototype_values[code], strict=True)
    ]
    return _table("Typical rows", ["row", *(safe(report.feature_names_[i]) for i in telling)], lines)


def _value(report: Any, value: float, column: int, one_row: bool = False) -> str:
    if value != value:
        return "missing"
    if report._texts[column] is not None:
        return ("yes" if value else "no") if one_row else f"{value:.0%}"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"


def _doubtful(report: Any) -> str:
    rows = np.argsort(report.confidence_, kind="stable")[:_MAX_ROWS_LISTED]
    lines = [[f"{row:,}", safe(report.labels_[row]), _number(report.confidence_[row])] for row in rows.tolist()]
    table = _table("The rows that the model is least sure of", ["row", "class", "confidence"], lines)
    return f"<details><summary><h2>Rows in doubt</h2></summary>{table}</details>"


def _comparison(report: Any) -> str:
    if not len(report.confusion_labels_):
        return "<section><h2>Labels</h2><p>No row is labeled, so there is nothing to compare with.</p></section>"
    head = ["label", *(safe(name, 24) for name in report.classes_.tolist())]
    lines = [
        [safe(name), *(f"{count:,}" if count else "·" for count in counts.tolist())]
        for name, counts in zip(report.confusion_labels_.tolist(), report.confusion_, strict=True)
    ]
    confusion = _table("Labeled rows: their label, and the class that the model says", head, lines)
    disagreeing = report.disagreeing_rows_
    if len(disagreeing):
        shown = disagreeing[:_MAX_ROWS_LISTED].tolist()
        cells = [
            [f"{row:,}", safe(report.labels_[row]), safe(said), _number(report.confidence_[row])]
            for row, said in zip(shown, report._said.tolist(), strict=False)
        ]
        rows = "row" if len(disagreeing) == 1 else "rows"
        caption = f"{len(disagreeing):,} labeled {rows} that the model would name otherwise, the most confident first"
        if len(disagreeing) > len(shown):
            caption += f"; the first {len(shown)}"
        wrong = _table(caption, ["row", "label", "model says", "confidence"], cells)
    else:
        wrong = "<p>The model agrees with every label of a class that it knows.</p>"
    return f"<section><h2>Labels</h2>{confusion}{wrong}</section>"


def _mark(report: Any, code: int) -> str:
    shape = "◆" if report.is_novel_[code] else "●"
    return f'<span class="shape"><span class="k{code % N_COLORS}" aria-hidden="true">{shape}</span> {code + 1}</span>'


def _kind(report: Any, code: int) -> str:
    return "novel" if report.is_novel_[code] else "known"


def _number(value: float) -> str:
    return "-" if value != value else f"{value:.2f}"


def _table(caption: str, head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table that scrolls by itself on a narrow screen, by the keyboard too; cells are HTML already."""
    titles = "".join(f'<th scope="col">{title}</th>' for title in head)
    body = "".join(
        f'<tr><th scope="row">{line[0]}</th>{"".join(f"<td>{cell}</td>" for cell in line[1:])}</tr>' for line in lines
    )
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{safe(caption, 200)}"><table>'
        f"<caption>{safe(caption, 200)}</caption><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>"
    )
