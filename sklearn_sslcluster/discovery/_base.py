"""What the estimators of this room share: centers of known and of novel classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..base import BaseCenterEstimator, lazily
from ..labels import warn_user
from ..numerics import nearest_centers

LARGEST_KNOWN_SHARE = 0.1
# Power of the distance that stands behind each name of `seeding` and `selection`.
POWER = {"distance": 1, "squared-distance": 2, "inertia": 2}


class BaseCenterDiscovery(BaseCenterEstimator):
    """Base of estimators that tell novel classes from known ones by centers."""

    @lazily
    def predict_novel(self, X: Any) -> np.ndarray:
        """Name the nearest novel class of each row, whatever the known classes.

        The rule of the paper, for rows that are known to belong to no known class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows; of a Dask array or DataFrame, where ``fit`` takes one, the answer is a lazy Dask array.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Names of ``novel_classes_``.

        Raises
        ------
        ValueError
            If no novel class was found.
        """
        X = self._check_fitted_rows(X)
        n_known = len(self.classes_) - len(self.novel_classes_)
        if n_known == len(self.classes_):
            raise ValueError(f"This {type(self).__name__} found no novel class, so that none can be predicted.")
        return self.novel_classes_[self._map(nearest_centers, self._represent(X), self.cluster_centers_[n_known:])[0]]

    def _warn_if_known(self) -> None:
        """Warn if "no unlabeled row belongs to a known class" looks wrong."""
        if self.known_share_ > LARGEST_KNOWN_SHARE:
            warn_user(
                f"{self.known_share_:.0%} of the unlabeled rows lie nearest to a known class, but "
                f"{type(self).__name__} assumes that none belongs to one. SemiSupervisedKMeans makes no such "
                "assumption."
            )
