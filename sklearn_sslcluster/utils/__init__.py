"""Checks that users can run on their own estimators, and lists of what the package offers."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["estimator_checks"],
    submod_attrs={
        "_all_estimators": ["all_estimators"],
        "_trusted_types": ["trusted_types"],
    },
)
