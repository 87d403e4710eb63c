"""Measuring time and memory."""

from __future__ import annotations

import multiprocessing
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def interleaved(calls: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each call, all calls once a round, so that a busy moment of the machine meets them all."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            times[name].append(seconds(call))
    return {name: statistics.median(values) for name, values in times.items()}


def anonymous_memory() -> tuple[int, int]:
    """(RssAnon, VmHWM) of this process, in MB."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return tuple(int(lines[key].split()[0]) // 1024 for key in ("RssAnon", "VmHWM"))


def write_blobs(folder: str, n: int, d: int) -> str:
    """Path of a float32 file with `n` rows around 20 centers."""
    path = str(Path(folder) / "rows.f32")
    rows = np.memmap(path, dtype=np.float32, mode="w+", shape=(n, d))
    rng = np.random.default_rng(0)
    centers = rng.normal(scale=3, size=(20, d)).astype(np.float32)
    for start in range(0, n, 2**20):
        block = rows[start : start + 2**20]
        block[:] = centers[rng.integers(20, size=len(block))] + rng.standard_normal(block.shape, dtype=np.float32)
    rows.flush()
    return path


class MemoryWatch:
    """Samples RssAnon of this process every `interval` seconds until `stop`."""

    def __init__(self, interval: float = 0.01) -> None:
        self.interval = interval
        self.before = self.peak = anonymous_memory()[0]
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        while not self._done.wait(self.interval):
            self.peak = max(self.peak, anonymous_memory()[0])

    def stop(self) -> tuple[int, int]:
        """(peak RssAnon above the value at the start, VmHWM), in MB."""
        self._done.set()
        self._thread.join()
        return self.peak - self.before, anonymous_memory()[1]


def _watch(fit: Callable, path: str, shape: tuple[int, int], argument: object, out: multiprocessing.Queue) -> None:
    X = np.memmap(path, dtype=np.float32, mode="r", shape=shape)
    watch = MemoryWatch()
    result = fit(X, argument)
    out.put((*watch.stop(), result))


def peak_memory(fit: Callable, path: str, shape: tuple[int, int], argument: object) -> tuple[int, int, object]:
    """(peak RssAnon above the value after import, VmHWM, what `fit` returned) of a fit in a fresh process, in MB.

    ``fit(X, argument)`` gets a float32 memory map; RssAnon is sampled meanwhile.
    """
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    process = context.Process(target=_watch, args=(fit, path, shape, argument, out))
    process.start()
    result = out.get()
    process.join()
    return result
