from . import estimator_checks as estimator_checks
from ._all_estimators import all_estimators
from ._trusted_types import trusted_types

__all__ = ["all_estimators", "estimator_checks", "trusted_types"]
