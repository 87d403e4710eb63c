"""Where dense linear algebra runs: numpy, or torch on the CPU or a GPU. Beside ``neural`` the one place for torch."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import LinAlgError, eigh

# As if this much memory were free on the CPU, where larger blocks are no faster.
_HOST_BYTES = 2**28


@dataclass(frozen=True)
class NumpyBackend:
    """Arrays of numpy. ``xp`` is the module whose functions take ``out=``."""

    xp: Any = np

    def asarray(self, values: np.ndarray, dtype: str = "float64") -> Any:
        return np.array(values, dtype=dtype)

    def numpy(self, values: Any) -> np.ndarray:
        return np.asarray(values, dtype=np.float64)

    def top_eigh(self, matrix: Any, n_pairs: int) -> tuple[Any, Any]:
        """The `n_pairs` largest eigenvalues, in increasing order, and their vectors."""
        size = matrix.shape[0]
        if 2 * n_pairs <= size:
            # The driver for few pairs gives up on some matrices with many equal eigenvalues.
            with suppress(LinAlgError):
                return eigh(matrix, subset_by_index=[size - n_pairs, size - 1], check_finite=False)
        values, vectors = np.linalg.eigh(matrix)
        return values[size - n_pairs :], vectors[:, size - n_pairs :]


@dataclass(frozen=True)
class TorchBackend:
    """Arrays of torch on one device."""

    xp: Any
    device: str

    def asarray(self, values: np.ndarray, dtype: str = "float64") -> Any:
        return self.xp.tensor(np.asarray(values), dtype=getattr(self.xp, dtype), device=self.device)

    def from_rows(self, values: np.ndarray) -> Any:
        """Rows as they are; on the CPU without a copy, where torch can."""
        writable = np.ascontiguousarray(values) if values.flags.writeable else np.array(values)
        return self.xp.as_tensor(writable).to(self.device)

    def numpy(self, values: Any) -> np.ndarray:
        return values.detach().cpu().numpy().astype(np.float64)

    def top_eigh(self, matrix: Any, n_pairs: int) -> tuple[Any, Any]:
        """The `n_pairs` largest eigenvalues, in increasing order, and their vectors."""
        values, vectors = self.xp.linalg.eigh(matrix)
        size = matrix.shape[0]
        return values[size - n_pairs :], vectors[:, size - n_pairs :]

    @property
    def out_of_memory(self) -> type[BaseException]:
        return self.xp.OutOfMemoryError

    def free_bytes(self) -> int:
        """Memory of the device that is free."""
        return self.xp.cuda.mem_get_info(self.device)[0] if self.device.startswith("cuda") else _HOST_BYTES

    def release(self) -> None:
        """Give memory back that torch holds on to."""
        if self.device.startswith("cuda"):
            self.xp.cuda.empty_cache()


def array_backend(device: str | None) -> NumpyBackend | TorchBackend:
    """Backend for a parameter ``device``.

    None is numpy, ``"cpu"`` and ``"cuda"`` are torch, ``"auto"`` is torch on a GPU where there is one, else numpy.

    Raises
    ------
    ValueError
        If `device` is none of these, or torch sees no such device.
    """
    if device is None:
        return NumpyBackend()
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise ValueError(f"device must be None, 'cpu', 'cuda', 'cuda:0' and so on, or 'auto', got {device!r}.")
    import torch

    has_gpu = torch.cuda.is_available()
    if device == "auto":
        return TorchBackend(torch, "cuda") if has_gpu else NumpyBackend()
    if device.startswith("cuda") and not has_gpu:
        raise ValueError(
            f"device={device!r}, but torch sees no CUDA device; device='auto' takes one only if it is there."
        )
    return TorchBackend(torch, device)
