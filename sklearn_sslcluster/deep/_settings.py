"""What estimators of this room are told about networks and optimizers."""

from ..neural import NetworkSettings, OptimizerSettings

__all__ = ["NetworkSettings", "OptimizerSettings"]
