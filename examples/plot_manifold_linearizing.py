"""
Digits in subspaces of their own
================================

Images of one digit differ in slant, width and stroke: in a few ways, but these carry them far apart. So a digit is less
a point with noise than a curved surface. :class:`~sklearn_sslcluster.deep.ManifoldLinearizingClustering` straightens
such surfaces: it learns an embedding in which each class spans a linear subspace, and different classes different ones.
"""

# %%
# Images of five digits, and no labels; these serve to judge the result and nothing else.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

from sklearn_sslcluster.deep import ManifoldLinearizingClustering
from sklearn_sslcluster.metrics import clustering_accuracy

images, digits = load_digits(n_class=5, return_X_y=True)
images, digits = images[:500], digits[:500]

k_means = KMeans(5, n_init=20, random_state=0).fit(images)
model = ManifoldLinearizingClustering(5, max_epochs=40, random_state=0).fit(images)
print(f"accuracy of k-means {clustering_accuracy(digits, k_means.labels_):.1%}")
print(f"accuracy of manifold linearizing {clustering_accuracy(digits, model.labels_):.1%}")
print(f"nats an image saved by coding the classes apart: {model.rate_reduction_:.1f}")
print("dimensions of the subspaces:", [basis.shape[1] for basis in model.subspace_bases_])

# %%
# Straightened
# ------------
# How parallel two images are: white where they are at a right angle, black where they point the same way, or opposite
# ways. Rows and columns are the images, sorted by the classes found. Among the images themselves everything is a little
# parallel to everything. In the embedding images of different classes are at right angles, and blocks are left.

order = np.lexsort((digits, model.labels_))
centered = images - images.mean(axis=0)
directions = {
    "images": centered / np.linalg.norm(centered, axis=1, keepdims=True),
    "embedding": model.transform(images),
}
borders = np.cumsum(np.bincount(model.labels_))

figure, axes = plt.subplots(1, 2, figsize=(10, 5.2), layout="constrained")
for ax, (name, Z) in zip(axes, directions.items(), strict=True):
    shown = ax.imshow(np.abs(Z[order] @ Z[order].T), cmap="gray_r", vmin=0, vmax=1)
    ax.set_title(name)
    ax.set_yticks([])
    middles = borders - np.bincount(model.labels_) / 2
    digit_of = [np.bincount(digits[model.labels_ == label]).argmax() for label in model.classes_]
    ax.set_xticks(middles, [f"mostly {digit}" for digit in digit_of])
figure.colorbar(shown, ax=axes, shrink=0.8, label="absolute cosine")
figure.suptitle("Angles between images, sorted by the classes found")
plt.show()
