"""The picture of the landing page, drawn when the documentation is built."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from sklearn_sslcluster.datasets import load_novel_digits
from sklearn_sslcluster.mixture import SemiSupervisedGaussianMixture

# Of Okabe and Ito: known classes cool, new ones warm.
KNOWN = ("#0072b2", "#56b4e9", "#009e73", "#3d8c95", "#8f8cc7")
NOVEL = ("#d55e00", "#e69f00", "#cc79a7", "#c4a000", "#b8524f")
INKS = {"light": "#1f2933", "dark": "#e4e7eb"}
UNKNOWN = {"light": "#b8bfc7", "dark": "#5a6470"}


def draw_landing_pictures(folder: Path) -> None:
    """Write landing-light.png and landing-dark.png to a folder, if they are not there."""
    paths = {theme: folder / f"landing-{theme}.png" for theme in INKS}
    if all(path.exists() for path in paths.values()):
        return
    folder.mkdir(exist_ok=True)
    digits = load_novel_digits()
    rows = PCA(16, random_state=0).fit_transform(digits.data)
    labels = SemiSupervisedGaussianMixture(10, n_init=4, random_state=0).fit(rows, digits.target).labels_
    places = TSNE(perplexity=30, random_state=0).fit_transform(rows)
    for theme, path in paths.items():
        figure = _draw(digits, labels, places, INKS[theme], UNKNOWN[theme])
        figure.savefig(path, dpi=130, transparent=True)
        plt.close(figure)


def _draw(digits, labels, places, ink, unknown):
    colors = np.array(KNOWN + NOVEL)
    figure, (before, after) = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
    known = digits.target >= 0
    before.scatter(*places[~known].T, s=5, color=unknown, linewidths=0)
    before.scatter(*places[known].T, s=7, c=colors[digits.target[known]], linewidths=0)
    after.scatter(*places.T, s=6, c=colors[labels], linewidths=0)
    for name in np.unique(labels):
        members = labels == name
        center = np.median(places[members], axis=0)
        picture = digits.data[members].mean(axis=0).reshape(8, 8)
        box = AnnotationBbox(
            OffsetImage(picture, zoom=3.5, cmap="gray_r"),
            center,
            pad=0.1,
            bboxprops={"edgecolor": colors[name], "linewidth": 2},
        )
        after.add_artist(box)
    before.set_title("what is known", color=ink, fontsize=16)
    after.set_title("what is found", color=ink, fontsize=16)
    for ax in (before, after):
        ax.set_axis_off()
    return figure
