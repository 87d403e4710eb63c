"""Everything torch: networks, objectives and the one training loop. Learned weights leave as numpy arrays.

Only ``inference`` and ``settings`` load without torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "inference": ["apply_layers", "standardize"],
        "networks": ["build_decoder", "build_encoder", "build_head", "export_layers"],
        "objectives": ["Batch", "Objective", "Reconstruction", "check_objective"],
        "settings": ["NetworkSettings", "OptimizerSettings"],
        "training": ["Phase", "Trained", "Trainer", "TrainingSettings"],
    },
)
