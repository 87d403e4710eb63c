"""
Clusters of different shapes
============================

K-means cuts space into cells of equal right: it splits long clusters and joins small ones to their neighbors.
Expectation-maximization for a Gaussian mixture learns shapes, but ends where it happens to lead from its start.
:class:`~sklearn_sslcluster.sdp.LikelihoodAdjustedSDP` compares many starts by likelihood, and then lets a semidefinite
relaxation move all rows at once.
"""

# %%
# Three needles and a ball
# ------------------------
# Three long clusters lie side by side, a small round one beside them.

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Ellipse
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from sklearn_sslcluster.metrics import clustering_accuracy
from sklearn_sslcluster.sdp import LikelihoodAdjustedSDP

rng = np.random.default_rng(3)
truth = np.repeat(np.arange(4), [80, 80, 80, 40])
centers = np.array([[0.0, 0.0], [0.0, 2.2], [0.0, 4.4], [5.0, 8.0]])
spreads = np.array([[4.0, 0.35], [4.0, 0.35], [4.0, 0.35], [0.8, 0.8]])
X = centers[truth] + spreads[truth] * rng.standard_normal((len(truth), 2))
colors = np.array(["#0072b2", "#e69f00", "#009e73", "#cc79a7"])


def draw(ax, labels, title, model=None):
    """Rows in the colors of their clusters, covariances as ellipses of two standard deviations."""
    ax.scatter(*X.T, s=8, c=colors[labels], linewidths=0, alpha=0.8)
    if model is not None:
        for mean, covariance in zip(model.means_, model.covariances_, strict=True):
            variances, axes = np.linalg.eigh(covariance)
            angle = np.degrees(np.arctan2(axes[1, 1], axes[0, 1]))
            width, height = 4 * np.sqrt(variances[::-1])
            ax.add_patch(Ellipse(mean, width, height, angle=angle, fill=False, lw=1.5))
    ax.set(title=f"{title}\n{clustering_accuracy(truth, labels):.0%} right", xticks=[], yticks=[])


k_means = KMeans(4, n_init=10, random_state=0).fit(X)
mixture = GaussianMixture(4, random_state=0).fit(X)
adjusted = LikelihoodAdjustedSDP(4, random_state=0).fit(X)
figure, panels = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
draw(panels[0], k_means.labels_, "k-means")
draw(panels[1], mixture.predict(X), "expectation-maximization, one start", mixture)
draw(panels[2], adjusted.labels_, "likelihood-adjusted SDP", adjusted)
plt.show()

# %%
# Handwritten digits
# ------------------
# Ones, twos and threes on five principal axes, without labels. Twelve seeds each: a single start of
# expectation-maximization, and :class:`~sklearn_sslcluster.sdp.LikelihoodAdjustedSDP` with its default starts.

images, digits = load_digits(return_X_y=True)
shown = np.isin(digits, [1, 2, 3])
images, digits = images[shown], digits[shown]
projected = PCA(5, random_state=0).fit_transform(images)

accuracy = {"expectation-maximization,\none start": [], "likelihood-adjusted SDP": []}
for seed in range(12):
    one_start = GaussianMixture(3, random_state=seed).fit_predict(projected)
    accuracy["expectation-maximization,\none start"].append(clustering_accuracy(digits, one_start))
    model = LikelihoodAdjustedSDP(3, n_init=2, random_state=seed).fit(projected)
    accuracy["likelihood-adjusted SDP"].append(clustering_accuracy(digits, model.labels_))

figure, ax = plt.subplots(figsize=(7, 2.2), layout="constrained")
for height, (name, values) in enumerate(accuracy.items()):
    ax.plot(values, height + np.linspace(-0.2, 0.2, 12), "o", alpha=0.7, color=colors[height])
ax.set_yticks([0, 1], list(accuracy))
ax.set(ylim=(-0.5, 1.5), xlabel="accuracy")
ax.grid(axis="x", alpha=0.3)
plt.show()

# %%
# Which images lie between clusters?
# ----------------------------------
# The relaxation divides a row among clusters where a hard choice would cost likelihood: ``membership_`` has the shares.
# Here are the images that belong to their own cluster least.

share = model.membership_.max(axis=1)
figure, panels = plt.subplots(1, 6, figsize=(9, 2.2), layout="constrained")
for ax, row in zip(panels, np.argsort(share, kind="stable")[:6], strict=True):
    ax.imshow(images[row].reshape(8, 8), cmap="gray_r")
    ax.set(xticks=[], yticks=[], title=f"a {digits[row]}\nshare {share[row]:.2f}")
plt.show()
