"""
What a spectral embedding sees
==============================

A class need not be a ball around its center. :class:`~sklearn_sslcluster.discovery.NCDSpectralClustering` embeds the
rows before it clusters them, so that rows linked by a chain of similar rows come together. Its parameter ``s_min`` says
how similar the neighbors in such a chain must be. We look at the embedding beside a principal component analysis.
"""

# %%
# Four digits, since a flat picture cannot show ten. Zero and four are known, one and six are not. An image of a one is
# drawn in several ways, which makes it a class of several strokes, and no ball.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from sklearn_sslcluster.datasets import hide_classes
from sklearn_sslcluster.discovery import NCDKMeans, NCDSpectralClustering
from sklearn_sslcluster.metrics import clustering_accuracy

X, y_true = load_digits(return_X_y=True)
shown = np.isin(y_true, [0, 1, 4, 6])
X, y_true = X[shown], y_true[shown]
y = hide_classes(y_true, novel_classes=[1, 6])
novel = y == -1

# %%
# The embedding
# -------------
# A small ``s_min`` makes the similarity local. Colors show the true digits; of the one and the six the method saw none.

pictures = {"PCA of the pixels": PCA(2, random_state=0).fit_transform(X)}
for s_min, note in [(0.6, " (default)"), (0.01, "")]:
    model = NCDSpectralClustering(4, s_min=s_min, random_state=0).fit(X, y)
    pictures[f"embedding, s_min={s_min}{note}"] = model.embed(X)[:, :2]

style = {
    0: {"color": "#0072b2", "marker": "o", "label": "0, known"},
    4: {"color": "#009e73", "marker": "s", "label": "4, known"},
    1: {"color": "#d55e00", "marker": "^", "label": "1, novel"},
    6: {"color": "#cc79a7", "marker": "D", "label": "6, novel"},
}
figure, axes = plt.subplots(1, 3, figsize=(11, 4.2), layout="constrained")
for ax, (title, Z) in zip(axes, pictures.items(), strict=True):
    for digit, look in style.items():
        rows = y_true == digit
        ax.scatter(*Z[rows].T, s=14, alpha=0.7, linewidths=0, **look)
    ax.set(title=title, xticks=[], yticks=[], xlabel="first coordinate")
axes[0].set_ylabel("second coordinate")
handles, labels = axes[0].get_legend_handles_labels()
figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, markerscale=2)
plt.show()

# %%
# With the default the picture is much that of the PCA. With local similarities the classes become arms that leave one
# corner, and the ones, which are written in two ways, become two arms.

# %%
# The classes found
# -----------------
# That is why the accuracy jumps with ``s_min``: two novel clusters may take the two digits, or the two ways to write a
# one. Here every unlabeled row is of a novel digit, which the method assumes, so ``predict_novel`` names them.


def novel_accuracy(model):
    return clustering_accuracy(y_true[novel], model.fit(X, y).predict_novel(X[novel]))


print(f"NCDKMeans on the pixels: {novel_accuracy(NCDKMeans(4, random_state=0)):.3f}")
for s_min in [0.6, 0.3, 0.1, 0.03, 0.01]:
    print(f"s_min={s_min}: {novel_accuracy(NCDSpectralClustering(4, s_min=s_min, random_state=0)):.3f}")

# %%
# ``tune=True`` chooses ``s_min`` and the number of eigenvectors by how well clusters of all rows agree with the *known*
# classes. Two known classes that lie far apart, as here, say little about the others.

tuned = NCDSpectralClustering(4, tune=True, random_state=0)
print(f"tuned: {novel_accuracy(tuned):.3f}, with s_min={tuned.s_min_:.2f} and {tuned.n_eigenvectors_} eigenvectors")
print(f"agreement with the known classes (adjusted Rand index): {max(tuned.tuning_results_['score']):.2f}")
