"""What the command found, as lines of plain text."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import numpy as np

from ._columns import MAX_CATEGORIES, Features
from ._messages import aligned, listed, shown, wrapped

_N_TELLING = 5
_N_CANDIDATES = 5
_MAX_KNOWN = 20
_RARE = "infrequent_sklearn"  # scikit-learn's name for the categories that it puts together


def report(pipeline: Any, Z: np.ndarray, features: Features, labels: np.ndarray, args: Namespace) -> list[str]:
    """Report of a fit on the rows `Z` of the last step of `pipeline`."""
    clusters = pipeline[-1]
    unlabeled = np.array([label is None for label in labels])
    n_known = len(clusters.classes_) - len(clusters.novel_classes_)
    by_class = {name: clusters.labels_ == name for name in clusters.classes_.tolist()}
    lines = [*about_table(features, labels, args), ""]
    if n_known:
        counts = [(name, _count(rows & ~unlabeled), _count(rows & unlabeled)) for name, rows in by_class.items()]
        lines += aligned([("known class", "labeled rows", "joined by"), *counts[: min(n_known, _MAX_KNOWN)]])
        lines += [f"... and {n_known - _MAX_KNOWN:,} more"] if n_known > _MAX_KNOWN else []
    else:
        lines += [
            wrapped(f"No row of '{shown(args.label)}' has a label: all rows were clustered, all classes are new.")
        ]
    lines += [""]
    if len(clusters.novel_classes_):
        lines += aligned([("new class", "rows"), *((name, _count(by_class[name])) for name in clusters.novel_classes_)])
    else:
        lines += ["No new class was found."]
    lines += ["", f"silhouette of all classes: {clusters.score(Z):.2f} (from -1 to 1, higher is clearer)"]
    if n_known:
        lines += [f"unlabeled rows that look known: {clusters.known_share_:.0%}"]
    if hasattr(clusters, "leaderboard_data_"):
        lines += ["", *_choice_lines(clusters)]
    if len(clusters.novel_classes_) and len(clusters.classes_) > 1:
        lines += ["", *_telling_lines(pipeline, Z, features, by_class)]
    return lines


def _choice_lines(clusters: Any) -> list[str]:
    """Why these classes: the candidates, and what they made of known classes that were hidden."""
    board = clusters.leaderboard_data_
    rows: list[tuple[str, ...]] = [("chosen among", "with", "hidden classes", "agreement", "vote")]
    for place in range(min(_N_CANDIDATES, len(board["candidate"]))):
        right, error, agreement = (board[name][place] for name in ("hidden_accuracy", "se", "agreement"))
        weight = board["weight"][place]
        title, params = board["candidate"][place], board["parameters"][place]
        spread = "" if error is None else f" ± {100 * error:.0f}"
        cells = ("-" if right is None else f"{right:.0%}{spread}", "-" if agreement is None else f"{agreement:.2f}")
        rows.append((title, params, *cells, f"{weight:.0%}" if weight > 0 else ""))
    left = len(board["candidate"]) - len(rows) + 1
    lines = aligned(rows) + ([f"... and {left} more"] if left > 0 else [])
    told = "F1 score" if clusters.trials_among_ == "all" else "share of rows named rightly"
    stable = " and how stable the partition is" if any(v is not None for v in board["stability"]) else ""
    lines.append(
        wrapped(
            f"(hidden classes: {told} where known classes were hidden, with its standard error; agreement: adjusted "
            f"Rand index with the other candidates; best first by both{stable}, the first of them weighing more)"
        )
    )
    if clusters.n_clusters_votes_:
        counters = clusters.n_clusters_votes_.items()
        told = ", ".join(f"{name} {answer} ({share:.0%})" for name, (answer, _, share) in counters)
        lines.append(wrapped(f"number of classes, with the vote of each counter: {told}"))
    low, high = clusters.n_clusters_interval_
    if low < high:
        lines.append(f"the number of classes may as well lie between {low} and {high}")
    doubtful = int((clusters.confidence_ < 1).sum())
    if doubtful:
        lines.append(f"rows on which those that vote disagree: {doubtful:,}")
    return lines


def about_table(features: Features, labels: np.ndarray, args: Namespace) -> list[str]:
    """What was read, and which columns count."""
    labeled = [label for label in labels if label is not None]
    n_used = len(features.numbers) + len(features.text)
    lines = [
        f"{args.table}: {len(labels):,} rows, {len(labeled):,} of them labeled with {len(set(labeled)):,} classes in "
        f"'{shown(args.label)}'",
        f"compared by {n_used:,} columns, {len(features.numbers):,} of numbers ({_SCALES[args.scale]}) and "
        f"{len(features.text):,} of text",
        *features.reasons(),
    ]
    if features.n_empty:
        lines.append(
            f"{sum(features.n_empty.values()):,} empty cells, read as the median of their column or as a text of their "
            f"own, in: {listed(features.n_empty)}"
        )
    if features.n_values:
        lines.append(f"more than {MAX_CATEGORIES} texts, the rarer ones read as one, in: {listed(features.n_values)}")
    return [wrapped(line) for line in lines]


_SCALES = {"standard": "scaled to one variance", "none": "not scaled"}


def _count(rows: np.ndarray) -> str:
    return f"{int(rows.sum()):,}"


def _telling_lines(pipeline: Any, Z: np.ndarray, features: Features, by_class: dict[str, np.ndarray]) -> list[str]:
    described = _describe_columns(pipeline[0], features)
    deviation = Z.std(axis=0)
    rows: list[tuple[str, str, str, str]] = [("most telling columns", "here", "elsewhere", "difference")]
    for name in pipeline[-1].novel_classes_.tolist():
        inside = by_class[name]
        here, elsewhere = Z[inside].mean(axis=0), Z[~inside].mean(axis=0)
        difference = np.divide(here - elsewhere, deviation, out=np.zeros(len(here)), where=deviation > 0)
        rows.append((f"{shown(name, 24)} ({_count(inside)} rows)", "", "", ""))
        told: set[str] = set()
        for j in np.argsort(-np.abs(difference), kind="stable"):
            column, text, offset, scale = described[j]
            if column in told:
                continue
            told.add(column)
            means = [_value(mean * scale + offset, text) for mean in (here[j], elsewhere[j])]
            title = column if text is None else f"{shown(column, 22)}={shown(text or '(empty)', 14)}"
            rows.append((f"  {shown(title, 38)}", means[0], means[1], f"{difference[j]:+.2f}"))
            if len(told) == _N_TELLING:
                break
    return [*aligned(rows), "(mean of numbers, share of rows with a text; difference in standard deviations)"]


def _describe_columns(transformer: Any, features: Features) -> list[tuple[str, str | None, float, float]]:
    """(column, its text or None for numbers, offset, scale) of each column that the last step sees."""
    described: list[tuple[str, str | None, float, float]] = []
    if features.numbers:
        scaler = transformer.named_transformers_["numbers"][-1]
        offsets = getattr(scaler, "mean_", np.zeros(len(features.numbers)))
        scales = getattr(scaler, "scale_", np.ones(len(features.numbers)))
        described += [(name, None, *pair) for name, *pair in zip(features.numbers, offsets, scales, strict=True)]
    if features.text:
        # Numbers for names, so that the name ends at the first underscore whatever the column is called.
        columns = list(features.text)
        names = transformer.named_transformers_["text"][-1].get_feature_names_out([str(i) for i in range(len(columns))])
        for number, _, text in (name.partition("_") for name in names):
            described.append((columns[int(number)], "(rare)" if text == _RARE else text, 0.0, 1.0))
    return described


def _value(value: float, text: str | None) -> str:
    if text is not None:
        return f"{value:.0%}"
    if value and not 1e-3 <= abs(value) < 1e9:
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def accuracy_lines(truth: np.ndarray, labels: np.ndarray, clusters: Any) -> list[str]:
    """Accuracy on the unlabeled rows, where the truth is known."""
    from ..metrics import category_discovery_accuracy

    unlabeled = np.array([label is None for label in labels])
    known = [label for label in labels if label is not None]
    score = category_discovery_accuracy(truth[unlabeled], clusters.labels_[unlabeled], known)
    return [
        "",
        f"accuracy on the {_count(unlabeled)} unlabeled rows: {score.all:.1%} "
        f"(known classes {score.old:.1%}, new classes {score.new:.1%})",
        f"{len(clusters.classes_)} classes were told apart, and the truth has {len(set(truth.tolist()))}",
    ]


def write_page(pipeline: Any, features: Features, labels: np.ndarray, args: Namespace, target: str) -> None:
    """The page about the classes, in the units of the table."""
    from ..inspection import ClusterReport

    ClusterReport(pipeline, features.frame(), labels, random_state=args.seed).to_html(target)


def files_lines(added: tuple[str, str], output: str | None, model: str | None, page: str | None = None) -> list[str]:
    """Where the results went."""
    columns = f"'{added[0]}' and '{added[1]}'"
    lines = [
        "",
        f"{output}: the table with columns {columns}" if output else f"-o FILE writes the table with columns {columns}",
    ]
    if model:
        lines.append(f"{model}: the model; it names new rows by: sslcluster predict TABLE --model {model}")
    if page:
        lines.append(f"{page}: a page about the classes, for a browser")
    return lines
