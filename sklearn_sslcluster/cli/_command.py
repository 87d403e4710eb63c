"""The command line: what may be asked for, and the steps that answer it."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack
from typing import Any, NoReturn

import numpy as np

from .. import __version__
from ._columns import known_features, read_features, read_labels
from ._messages import Refusal, aligned, listed, note, one_line, require, show, warnings_as_notes
from ._model import METHODS, OPTIONS, fit, load_model, note_unseen, save_model
from ._report import accuracy_lines, files_lines, report, write_page
from ._tables import (
    added_names,
    check_columns,
    check_page,
    check_targets,
    read_table,
    replacing,
    with_classes,
    write_table,
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0 when all went well, 2 for a mistake of the user, 130 when interrupted."""
    args = _parser().parse_args(argv)
    try:
        with warnings_as_notes(OPTIONS):
            args.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("sslcluster: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Nobody reads on; Python would complain when it flushes standard output at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Refusal, OSError, ValueError, MemoryError) as error:
        print(f"sslcluster: error: {one_line(error)}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="sslcluster", description="Find the classes that nobody has named in a table.")
    parser.add_argument("--version", action="version", version=f"sslcluster {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    discover = commands.add_parser(
        "discover",
        help="find new classes among the rows without a label",
        description="Find new classes among the rows of TABLE without a label; they may belong to known classes too.",
        epilog="Example: sslcluster discover customers.csv --label segment -o labeled.csv",
    )
    add = discover.add_argument
    add("table", nargs="?", metavar="TABLE", help="a .csv, .tsv or .parquet file")
    add("--label", metavar="COLUMN", help="column of the known classes; an empty cell is a row without a label")
    add("--unlabeled", metavar="VALUE", action="append", default=[], help="text that means 'no label'; repeatable")
    add("--id", metavar="COLUMN", action="append", default=[], help="column to keep and not to compare; repeatable")
    add("--method", choices=list(METHODS), default="auto", help="auto, the default: chosen by hiding known classes")
    add("--time-budget", metavar="SECONDS", type=_seconds, help="after which --method auto begins no further fit")
    add("--n-clusters", metavar="auto|K", type=_n_clusters, default="auto", help="known and new classes together")
    add("--scale", choices=["standard", "none"], help="none: all columns of numbers have one unit (default: standard)")
    add("--seed", metavar="N", type=_seed, default=0, help="seed of the random starts (default: %(default)s)")
    add("--model", metavar="FILE", help="save the model to this file, for: sslcluster predict")
    add("--report", metavar="FILE", help="write a page about the classes to this .html file")
    add("--demo", action="store_true", help="run on handwritten digits, five of them unnamed; needs no file")
    add("--quiet", action="store_true", help="show no progress")
    add(
        "--distributed",
        metavar="ADDRESS|local",
        help="read TABLE, a Parquet folder larger than memory, part by part on the workers of the Dask scheduler at "
        "ADDRESS, or of this machine; -o is then a folder. Takes --method semi-supervised-kmeans (the default then) or "
        "ncd-kmeans, which fit by sums over parts of the rows",
    )
    discover.set_defaults(run=_discover)
    predict = commands.add_parser(
        "predict",
        help="name the classes of new rows with a saved model",
        description="Name the class of each row of TABLE. Without -o, the table goes to standard output as CSV.",
        epilog="Example: sslcluster predict tomorrow.csv --model model.skops -o labeled.csv",
    )
    predict.add_argument("table", metavar="TABLE", help="a .csv, .tsv or .parquet file")
    predict.add_argument("--model", metavar="FILE", required=True, help="file that discover --model has saved")
    predict.set_defaults(run=_predict)
    for command in (discover, predict):
        command.add_argument("-o", "--output", metavar="FILE", help="write the table with its two new columns here")
        command.add_argument("--output-prefix", metavar="P", default="", help="put P before the names of these two")
    return parser


def _n_clusters(text: str) -> int | str:
    if text == "auto":
        return text
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected 'auto' or a number of classes from 1 on, got {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number of seconds above 0, got {text!r}")
    return seconds


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"expected an integer from 0 to {2**32 - 1}, got {text!r}")
    return int(text)


def _discover(args: argparse.Namespace) -> None:
    if args.distributed:
        from ._distributed import discover

        discover(args)
        return
    frame, truth = _table_and_truth(args)
    check_columns(frame, args.table, [args.label, *args.id])
    added = added_names(frame, args.table, args.label, args.output_prefix)
    check_targets([args.output, args.model, args.report], [args.table], args.output)
    check_page(args.report)
    if args.model:
        require("skops")
    if args.time_budget is not None and args.method != "auto":
        raise Refusal(f"--time-budget goes with --method auto, not with --method {args.method}")
    if args.n_clusters != "auto" and args.n_clusters > len(frame):
        raise Refusal(f"--n-clusters {args.n_clusters} is more than the {len(frame):,} rows of {args.table}")
    labels = read_labels(frame[args.label], args.unlabeled)
    features = read_features(frame, args.table, dict.fromkeys(args.id, "named by --id") | {args.label: ""})

    pipeline, Z = fit(features, labels, args)
    clusters = pipeline[-1]
    with ExitStack() as files:
        if args.output:
            result = with_classes(frame, added, clusters.labels_, clusters.novel_classes_)
            write_table(result, args.output, files.enter_context(replacing(args.output)))
        if args.model:
            save_model(pipeline, features, args, files.enter_context(replacing(args.model)))
        if args.report:
            write_page(pipeline, features, labels, args, files.enter_context(replacing(args.report)))
    show(report(pipeline, Z, features, labels, args))
    if truth is not None:
        show(accuracy_lines(truth, labels, clusters))
    show(files_lines(added, args.output, args.model, args.report))


def _table_and_truth(args: argparse.Namespace) -> tuple[Any, np.ndarray | None]:
    """The table, and for the demonstration the class of every row; completes `args`."""
    if not args.demo:
        args.scale = args.scale or "standard"
        if not args.table or args.label is None:
            raise Refusal("discover needs TABLE and --label COLUMN, or --demo")
        return read_table(args.table), None
    if args.table or args.label or args.id or args.unlabeled:
        raise Refusal("--demo brings its own table; leave out TABLE, --label, --id and --unlabeled")
    from ..datasets import load_novel_digits

    require("pandas")
    digits = load_novel_digits(as_frame=True)
    # Pixels have one unit: how much they vary is what tells digits apart.
    args.table, args.label, args.scale = "digits", "digit", args.scale or "none"
    names = [None if label == -1 else str(label) for label in digits.target]
    return digits.data.assign(digit=names), digits.target_true.astype(str).to_numpy(object)


def _predict(args: argparse.Namespace) -> None:
    model = load_model(args.model)
    frame = read_table(args.table)
    added = added_names(frame, args.table, model["label"], args.output_prefix)
    check_targets([args.output], [args.table, args.model], args.output)
    wanted = [*model["numbers"], *model["text"]]
    check_columns(frame, args.table, wanted)
    unused = [name for name in frame.columns if name not in wanted]
    if unused:
        note(f"columns that the model does not use: {listed(unused)}")
    features = known_features(frame, model["numbers"], model["text"])
    pipeline = model["pipeline"]
    note_unseen(pipeline, features)

    predicted = pipeline.predict(features.frame())
    result = with_classes(frame, added, predicted, pipeline[-1].novel_classes_)
    if not args.output:
        write_table(result, "standard output.csv", sys.stdout)
        return
    with replacing(args.output) as target:
        write_table(result, args.output, target)
    rows = [(name, int((predicted == name).sum())) for name in pipeline[-1].classes_.tolist()]
    show(aligned([("class", "rows"), *((name, f"{n:,}") for name, n in rows if n)]))
    show(files_lines(added, args.output, None))
