"""
Ten digits, by their neighbors
==============================

K-means puts a center into each cluster, and joins what lies near it. Handwritten digits do not lie around centers: two
ways to write a one have no image between them that is a better one. But each image has near neighbors, and these mostly
show the same digit. :class:`~sklearn_sslcluster.deep.NeighborEmbeddingClustering` follows the neighbors, and learns a
map by which new images find their place.
"""

# %%
# No labels
# ---------
# Three quarters of the images are there to learn from, the others come tomorrow. The labels serve to judge the result
# and nothing else.

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.metrics.cluster import contingency_matrix
from sklearn.model_selection import train_test_split

from sklearn_sslcluster.deep import NeighborEmbeddingClustering
from sklearn_sslcluster.metrics import clustering_accuracy

images, digits = load_digits(return_X_y=True)
X, X_new, y, y_new = train_test_split(images, digits, test_size=0.25, random_state=0)

k_means = KMeans(10, n_init=20, random_state=0).fit(X)
model = NeighborEmbeddingClustering(10, max_epochs=40, random_state=0).fit(X)
print(f"accuracy of k-means {clustering_accuracy(y, k_means.labels_):.1%}")
print(f"accuracy of the neighbor embedding {clustering_accuracy(y, model.labels_):.1%}")

# %%
# Centers cut through what neighbors hold together
# ------------------------------------------------
# The same map twice: each point is an image, in its place in the neighbor embedding. Colors are those of the clusters,
# matched with the digits as well as they can be. Most islands are one digit. Where an island has two colors on the
# left, a border between two centers runs through it; where two islands share a color, one center serves both.


def matched(clusters):
    """Name each cluster after a digit, so that as many images as possible have the right name."""
    rows, columns = linear_sum_assignment(-contingency_matrix(y, clusters))
    return dict(zip(np.unique(clusters)[columns], rows, strict=True))


colors = plt.get_cmap("tab10")
figure, axes = plt.subplots(1, 2, figsize=(10, 5), layout="constrained")
for ax, name, clusters in zip(axes, ["k-means", "neighbor embedding"], [k_means.labels_, model.labels_], strict=True):
    names = matched(clusters)
    shown = np.array([names[cluster] for cluster in clusters])
    ax.scatter(*model.embedding_.T, c=colors(shown), s=7, lw=0)
    for digit in range(10):
        place = np.median(model.embedding_[y == digit], axis=0)
        box = {"fc": "white", "ec": "none", "alpha": 0.7, "pad": 1}
        ax.text(*place, digit, size=15, weight="bold", ha="center", va="center", bbox=box)
    ax.set(xticks=[], yticks=[], title=f"{name}: {clustering_accuracy(y, clusters):.1%} of the images right")
figure.suptitle("Colors: clusters. Numbers: where the images of a digit are")
plt.show()

# %%
# New images find their place
# ---------------------------
# The embedding alone says nothing of an image that was not there. So a network learns to say of an image where it lies
# and what it belongs to. ``transform`` gives the place, ``predict`` the class.

names = matched(model.labels_)
predicted = np.array([names[cluster] for cluster in model.predict(X_new)])
right = predicted == y_new
places = model.transform(X_new)

figure, ax = plt.subplots(figsize=(7, 6), layout="constrained")
ax.scatter(*model.embedding_.T, color="0.85", s=12, lw=0, label="images learned from")
ax.scatter(*places[right].T, c=colors(predicted[right]), s=14, lw=0)
ax.scatter(*places[~right].T, color="black", marker="x", s=40, lw=1.5, label="new images in the wrong class")
ax.set(xticks=[], yticks=[])
ax.set_title(f"{len(X_new)} new images (colored): {right.mean():.1%} in the right class")
ax.legend(frameon=False, loc="lower right")
plt.show()

# %%
# What it is unsure of
# --------------------
# ``predict_proba`` tells how sure the map is. Images between the islands are those it hesitates about, with reason. But
# it is sure of images that lie with the wrong neighbors altogether, as those in the bunches of crosses above: what no
# neighbor tells, only a label could.

proba = model.predict_proba(X_new)
sure = proba.max(axis=1)
for text, some in [("at least", sure >= 0.9), ("less than", sure < 0.9)]:
    print(f"{text} 90% sure: {some.mean():.0%} of the new images, {right[some].mean():.0%} of them right")

figure, axes = plt.subplots(2, 6, figsize=(8, 3.6), layout="constrained")
for row, ax in zip(np.argsort(sure), axes.flat, strict=False):
    first, second = np.argsort(-proba[row])[:2]
    guesses = " or ".join(f"{names[model.classes_[c]]} ({proba[row, c]:.0%})" for c in (first, second))
    ax.imshow(X_new[row].reshape(8, 8), cmap="gray_r")
    ax.set(xticks=[], yticks=[])
    ax.set_title(guesses, size=8)
    ax.set_xlabel(f"truth: {y_new[row]}", size=8, color="black" if right[row] else "#b34700")
figure.suptitle("New images of which the map is least sure")
plt.show()
