"""Pictures of how a network was trained, and of what a certificate proves."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ._classes import last_step
from ._displays import new_axes

_LOSSES = {"train_loss": "training", "valid_loss": "held-out rows"}


class TrainingHistoryDisplay:
    """Picture of the loss of every epoch of a deep estimator, one panel for each phase.

    Parameters
    ----------
    history : dict of str to list of dict
        Epochs of each phase; each holds ``"epoch"``, ``"train_loss"`` and possibly ``"valid_loss"``.

    Attributes
    ----------
    axes_ : list of matplotlib Axes
        One for each phase, after ``plot``.
    ax_ : matplotlib Axes
        The last of them.
    figure_ : matplotlib Figure
        After ``plot``.

    See Also
    --------
    NumberOfClustersDisplay : How the number of clusters was chosen.

    Examples
    --------
    >>> from sklearn_sslcluster.inspection import TrainingHistoryDisplay
    >>> epochs = [{"epoch": 1.0, "train_loss": 2.0}, {"epoch": 2.0, "train_loss": 1.5}]
    >>> TrainingHistoryDisplay({"pretrain": epochs}).plot().ax_.get_title()
    'pretrain'
    """

    def __init__(self, history: dict[str, list[dict[str, float]]]) -> None:
        self.history = history

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> TrainingHistoryDisplay:
        """Draw the training of a fitted estimator.

        Parameters
        ----------
        estimator : object
            Fitted deep estimator, or pipeline or search that ends in one.
        ax : matplotlib Axes, default=None
            Where to draw the last phase; None for a new figure with all phases.

        Returns
        -------
        display : TrainingHistoryDisplay
            With ``ax_`` and ``figure_``.

        Raises
        ------
        ValueError
            If the estimator has no history of epochs.
        """
        estimator = last_step(estimator)
        check_is_fitted(estimator)
        history = getattr(estimator, "history_", None)
        phases = history if isinstance(history, dict) else {}
        told = {name: epochs for name, epochs in phases.items() if epochs and "train_loss" in epochs[0]}
        if not told:
            raise ValueError(f"{type(estimator).__name__} has no history of epochs: it has trained no network.")
        return cls(told).plot(ax=ax)

    def plot(self, *, ax: Any = None) -> TrainingHistoryDisplay:
        """Draw the losses.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw the last phase; None for a new figure with all phases.

        Returns
        -------
        display : TrainingHistoryDisplay
            Itself.
        """
        phases = list(self.history.items())
        if ax is None:
            first = new_axes(None, 4.2 * len(phases), 3.4)
            figure = first.figure
            first.remove()
            axes = [figure.add_subplot(1, len(phases), place + 1) for place in range(len(phases))]
        else:
            phases, axes = phases[-1:], [ax]
        for (name, epochs), here in zip(phases, axes, strict=True):
            for loss, title in _LOSSES.items():
                points = [(epoch["epoch"], epoch[loss]) for epoch in epochs if loss in epoch]
                if points:
                    here.plot(*zip(*points, strict=True), "o-" if len(points) < 10 else "-", label=title)
            here.xaxis.get_major_locator().set_params(integer=True)
            here.set(title=name, xlabel="epoch", ylabel="loss")
            here.legend(frameon=False)
        self.axes_, self.ax_, self.figure_ = axes, axes[-1], axes[-1].figure
        return self


class CertificateDisplay:
    """Picture of what is proven of a k-means clustering: its inertia, and the bounds that none can fall below.

    Parameters
    ----------
    bounds : dict of str to float
        Lower bounds of the inertia by method.
    inertia : float
        Of the clustering.

    Attributes
    ----------
    ax_ : matplotlib Axes
        After ``plot``.
    figure_ : matplotlib Figure
        After ``plot``.

    See Also
    --------
    sklearn_sslcluster.sdp.certify_kmeans : Makes certificates.

    Examples
    --------
    >>> from sklearn_sslcluster.inspection import CertificateDisplay
    >>> from sklearn_sslcluster.sdp import certify_kmeans
    >>> certificate = certify_kmeans([[0.0], [1.0], [9.0], [10.0]], [0, 0, 1, 1])
    >>> round(CertificateDisplay.from_certificate(certificate).inertia, 6)
    1.0
    """

    def __init__(self, bounds: dict[str, float], inertia: float) -> None:
        self.bounds = bounds
        self.inertia = inertia

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> CertificateDisplay:
        """Draw the certificate of a fitted estimator.

        Parameters
        ----------
        estimator : SDPKMeans
            Fitted with a certificate, or pipeline or search that ends in such a one.
        ax : matplotlib Axes, default=None
            Where to draw; None for a new figure.

        Returns
        -------
        display : CertificateDisplay
            With ``ax_`` and ``figure_``.

        Raises
        ------
        ValueError
            If the estimator has no certificate.
        """
        estimator = last_step(estimator)
        check_is_fitted(estimator)
        certificate = getattr(estimator, "certificate_", None)
        if certificate is None:
            raise ValueError(f"{type(estimator).__name__} has no certificate; certify_kmeans makes one of any labels.")
        return cls.from_certificate(certificate, ax=ax)

    @classmethod
    def from_certificate(cls, certificate: Any, *, ax: Any = None) -> CertificateDisplay:
        """Draw a certificate.

        Parameters
        ----------
        certificate : KMeansCertificate
            Of ``certify_kmeans``.
        ax : matplotlib Axes, default=None
            Where to draw; None for a new figure.

        Returns
        -------
        display : CertificateDisplay
            With ``ax_`` and ``figure_``.
        """
        return cls(dict(certificate.bounds), float(certificate.inertia)).plot(ax=ax)

    def plot(self, *, ax: Any = None) -> CertificateDisplay:
        """Draw a bar for each bound, in percent of the inertia, and a line at the inertia.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None for a new figure.

        Returns
        -------
        display : CertificateDisplay
            Itself.
        """
        ax = new_axes(ax, 7, 0.5 * len(self.bounds) + 1.4)
        names = sorted(self.bounds, key=lambda name: self.bounds[name])
        unit = self.inertia / 100 if self.inertia > 0 else 1.0
        shares = np.array([max(self.bounds[name], 0.0) / unit for name in names])
        bars = ax.barh(names, shares, height=0.6, color="C0", alpha=0.7, label="no clustering has an inertia below")
        # Rounded down: what is printed is no more than was proven.
        ax.bar_label(bars, [f"{np.floor(share * 100) / 100:.2f} %" for share in shares], label_type="center")
        ax.axvline(self.inertia / unit, color="C1", linewidth=2, label="this clustering")
        ax.set(xlim=(0, 105 if self.inertia > 0 else 1), xlabel="inertia in percent of this clustering")
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False)
        self.ax_, self.figure_ = ax, ax.figure
        return self
