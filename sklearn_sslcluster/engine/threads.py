"""Threads: how many there are for blocks of rows, and one guard that keeps BLAS from using them twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import joblib
from threadpoolctl import ThreadpoolController


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def n_usable_threads() -> int:
    """Threads that the process may use: the CPUs it sees, or fewer where OpenMP was told so (joblib workers)."""
    openmp = _controller().select(user_api="openmp").info()
    limits = [pool["num_threads"] for pool in openmp]
    return max(1, min([joblib.cpu_count(), *limits]))


@contextmanager
def blas_on_one_thread() -> Iterator[None]:
    """Limit BLAS to one thread a call while blocks run on several threads, and restore it afterwards."""
    with _controller().limit(limits=1, user_api="blas"):
        yield
