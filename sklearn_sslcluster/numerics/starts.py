"""Restarts: one after the other, or, where joblib is told to use several processes, beside each other."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs


def run_starts(run: Callable[[Any, int, int], Any], shared: Any, seeds: np.ndarray) -> Iterator[Any]:
    """``run(shared, number, seed)`` of each start, in order.

    Within ``joblib.parallel_config`` of several jobs, a cluster of Dask included, the starts are run by these, and
    `shared` is sent once. Otherwise a start is run when it is asked for, so that whoever asks may stop.

    Parameters
    ----------
    run : callable
    shared : object
        What all starts need: the sample of the rows, not the table.
    seeds : ndarray of int
    """
    tasks = [(number, int(seed)) for number, seed in enumerate(seeds)]
    if len(tasks) == 1 or effective_n_jobs(None) == 1 or _in_a_task():
        for number, seed in tasks:
            yield run(shared, number, seed)
        return
    # As an array it is put once where all processes reach it: in a file by loky, on the workers by Dask.
    sent = np.frombuffer(pickle.dumps((run, shared)), dtype=np.uint8)
    yield from Parallel(n_jobs=None)(delayed(_run)(sent, number, seed) for number, seed in tasks)


def _run(sent: np.ndarray, number: int, seed: int) -> Any:
    run, shared = pickle.loads(sent.tobytes())
    return run(shared, number, seed)


def _in_a_task() -> bool:
    """Whether this is a task of Dask already, of a search for example: its cores are taken."""
    if "distributed" not in sys.modules:
        return False
    try:
        sys.modules["distributed"].get_worker()
    except ValueError:
        return False
    return True
