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
# The method assumes, as the paper does, that no unlabeled row belongs to a known class. It is so here.

models = {
    "k-means on the pixels": NCDKMeans(4, random_state=0),
    "s_min=0.6, the default": NCDSpectralClustering(4, random_state=0),
    "s_min=0.01": NCDSpectralClustering(4, s_min=0.01, random_state=0),
}
for title, model in models.items():
    model.fit(X, y)
    accuracy = clustering_accuracy(y_true[novel], model.predict_novel(X[novel]))
    print(f"{title}: accuracy on the two novel digits {accuracy:.3f}")

# %%
# A small ``s_min`` makes the similarity local: the classes pull apart into arms that leave from one corner. With the
# default the picture is much that of the PCA, seen through a lens.

pictures = {"PCA of the pixels": PCA(2, random_state=0).fit_transform(X)}
for title, model in list(models.items())[1:]:
    pictures[f"embedding, {title}"] = model.embed(X)[:, :2]

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
# Colors show the true digits, which the method did not see for the one and the six. How local the similarity should be
# depends on the data. ``tune=True`` chooses ``s_min`` and the number of eigenvectors by how well the *known* classes
# come apart; with two known classes that lie far from each other, as here, it learns little from them.

tuned = NCDSpectralClustering(4, tune=True, random_state=0).fit(X, y)
tried = np.array(tuned.tuning_results_["score"])
print(f"pairs tried: {len(tried)}, of which separate the known digits almost perfectly: {(tried > 0.95).sum()}")
accuracy = clustering_accuracy(y_true[novel], tuned.predict_novel(X[novel]))
print(f"s_min chosen: {tuned.s_min_:.3f}, accuracy on the two novel digits {accuracy:.3f}")
