"""How rows flow: blocks, additive statistics, threads, and the bridge to ``sklearn.callback``."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "blocks": ["RowBlocks", "check_block_size"],
        "callbacks": ["CallbackSupportMixin", "fit_progress", "with_callbacks"],
        "containers": ["blocks_of"],
        "dask_blocks": ["KEPT_MEMORY", "DaskBlocks", "check_finite"],
        "dask_rows": ["DaskRows", "in_memory", "is_dask"],
        "device_blocks": ["DeviceBlocks"],
        "device": ["NumpyBackend", "TorchBackend", "array_backend"],
        "large_tables": ["ShuffledRows", "on_disk"],
        "threads": ["blas_on_one_thread", "n_usable_threads"],
    },
)
