"""
Clusters of equal size
======================

Thirty annotators are to look at the same number of digits each, and each of them at digits that look alike.
:class:`~sklearn_sslcluster.quantization.BalancedKMeans` makes clusters of equal sizes for that. We look at what becomes
of the sizes, and at what it costs.
"""

# %%
# Clusters of handwritten digits, with and without the condition.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

from sklearn_sslcluster.quantization import BalancedKMeans

X, digits = load_digits(return_X_y=True)
n_clusters = 30
plain = KMeans(n_clusters, n_init=3, random_state=0).fit(X)
balanced = BalancedKMeans(n_clusters, n_init=3, random_state=0).fit(X)

# %%
# Sizes
# -----
# The largest cluster of k-means has several times as many digits as the smallest one. For equal sizes a center has to
# keep rows away that are nearest to it, or draw in rows that are nearest to another; how strongly, its potential says.


def purity(labels):
    """Share of the rows whose digit is the most common one of their cluster."""
    return sum(np.bincount(digits[labels == name]).max() for name in np.unique(labels)) / len(digits)


nearest = balanced.predict(X, nearest=True)
clusterings = {
    "KMeans": (plain.labels_, plain.inertia_),
    "BalancedKMeans": (balanced.labels_, balanced.inertia_),
    "nearest of its centers": (nearest, (balanced.transform(X).min(axis=1) ** 2).sum()),
}

figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), sharey=True, layout="constrained")
for ax, (name, (labels, inertia)) in zip(axes, clusterings.items(), strict=True):
    sizes = np.sort(np.bincount(labels, minlength=n_clusters))[::-1]
    ax.bar(np.arange(n_clusters), sizes, color="#0072b2")
    ax.axhline(len(X) / n_clusters, color="#d55e00", linewidth=1.5)
    cost, share = inertia / plain.inertia_, purity(labels)
    ax.set_title(f"{name}: {sizes.min()} to {sizes.max()} rows\ncost {cost:.3f}, purity {share:.2f}")
    ax.set(xlabel="cluster, by size", xticks=[])
axes[0].set_ylabel("rows")
axes[0].annotate("equal share", (29.5, len(X) / n_clusters), (0, 4), textcoords="offset points", ha="right")
plt.show()

# %%
# Equal sizes cost two percent of inertia here, relative to k-means, because the centers have moved: there are more of
# them where there are more rows. The picture on the right shows how much of the balance is due to the centers alone,
# when each row takes the nearest one. The potentials do the rest.
#
# The clusters are as pure as those of k-means: with three times as many clusters as digits, a digit is cut into pieces
# either way. That would be different with classes of different sizes and one cluster for each of them. Then balance has
# to put rows in the wrong place.
