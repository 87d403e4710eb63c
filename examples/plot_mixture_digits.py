"""
Two digits that a mixture discovers
===================================

All threes and eights are hidden in a table of handwritten digits, and of the other digits every second image keeps its
name. :class:`~sklearn_sslcluster.mixture.SemiSupervisedGaussianMixture` has to find out that something is missing, how
many classes it is, and which images belong to them. Then we ask the model what it learned, and how sure it is.
"""

# %%
# The data
# --------
# The last 297 images play the part of tomorrow's rows. Covariances of 64 pixels would have 2,080 entries a class, and
# border pixels never vary. Sixteen principal components keep most of what can be seen.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline

from sklearn_sslcluster.datasets import hide_classes
from sklearn_sslcluster.mixture import SemiSupervisedGaussianMixture

words = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"], dtype=object)
X, digits = load_digits(return_X_y=True)
partial = hide_classes(digits, novel_classes=[3, 8], labeled_fraction=0.5, random_state=0)
y = np.where(partial == -1, None, words[partial])
X_train, X_new = X[:1500], X[1500:]
y_train, true_new = y[:1500], words[digits[1500:]]
print(f"{np.not_equal(y_train, None).sum()} of {len(y_train)} images have a name")

# %%
# How many classes?
# -----------------
# By default the mixture is grown from the known classes, component by component, and the penalized likelihood is
# compared. Its peak is the number of classes. (With fewer names the count is less sure: the penalty is learned from the
# classes that have one. Try ``labeled_fraction=0.2``.)

pipeline = make_pipeline(PCA(16, random_state=0), SemiSupervisedGaussianMixture(random_state=0))
pipeline.fit(X_train, y_train)
reduce, mixture = pipeline
print(f"novel classes: {mixture.novel_classes_}")

scores = mixture.n_components_scores_
figure, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
ax.plot(list(scores), list(scores.values()), "o-", color="black")
ax.plot(mixture.n_components_, scores[mixture.n_components_], "o", ms=11, color="#d55e00")
ax.set_xticks(list(scores))
ax.set(xlabel="components", ylabel="penalized log likelihood", title="Eight classes are known")
ax.grid(alpha=0.3)
plt.show()

# %%
# What was found
# --------------
# A component is a mean and a covariance. ``inverse_transform`` turns the mean into an image, and so it does with points
# two standard deviations away from it along the longest axis of the ellipse: they show in what the images of a class
# differ most.

stages = ["mean - 2 sd", "mean", "mean + 2 sd"]
figure, axes = plt.subplots(3, len(mixture.classes_), figsize=(12, 4.2), layout="constrained")
for column, mean, covariance, name in zip(axes.T, mixture.means_, mixture.covariances_, mixture.classes_, strict=True):
    variances, directions = np.linalg.eigh(covariance)
    step = 2 * np.sqrt(variances[-1]) * directions[:, -1]
    for ax, point in zip(column, [mean - step, mean, mean + step], strict=True):
        ax.imshow(reduce.inverse_transform(point[None])[0].reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
        ax.set(xticks=[], yticks=[])
    column[0].set_title(name, color="#b34700" if name in mixture.novel_classes_ else "black")
for ax, stage in zip(axes[:, 0], stages, strict=True):
    ax.set_ylabel(stage)
figure.suptitle("Components of the mixture, the discovered ones on the right")
plt.show()

# %%
# How new is a row?
# -----------------
# ``predict_proba`` gives the probability of each class, and ``novelty_score`` that the row is of a novel class rather
# than a known one, if only the best of either counts. It is seldom in between. Of images that nobody has seen before:

novelty = mixture.novelty_score(reduce.transform(X_new))
is_new = np.isin(true_new, ["three", "eight"])
figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
bins = np.linspace(0, 1, 21)
ax.hist(
    [novelty[~is_new], novelty[is_new]],
    bins,
    stacked=True,
    color=["#0072b2", "#d55e00"],
    label=["digits with a name", "threes and eights"],
)
ax.set(yscale="log", xlabel="novelty score", ylabel="new images (log scale)")
ax.legend(frameon=False, loc="upper center")
plt.show()

# %%
# Rows with a score near one half are those to ask an expert about.

doubtful = np.argsort(np.abs(novelty - 0.5))[:7]
predicted = pipeline.predict(X_new)
figure, axes = plt.subplots(1, 7, figsize=(10, 2.2), layout="constrained")
for ax, row in zip(axes, doubtful, strict=True):
    ax.imshow(X_new[row].reshape(8, 8), cmap="gray_r")
    ax.set(title=predicted[row], xlabel=f"is {true_new[row]}\nscore {novelty[row]:.2f}", xticks=[], yticks=[])
figure.suptitle("Rows whose novelty is least certain")
plt.show()

# %%
# New class or nonsense?
# ----------------------
# Posteriors compare classes. They add up to one, also for a row that is like none of them. The distance tells:
# ``predict(..., reject=0.99)`` leaves a row without a name if it is farther from its component than 99 % of the
# training rows of that class. Images upside down are mostly no digits:

upside_down = X_new.reshape(-1, 8, 8)[:, ::-1].reshape(-1, 64)
for kind, rows in [("as they are", X_new), ("upside down", upside_down)]:
    Z = reduce.transform(rows)
    sure = mixture.predict_proba(Z).max(axis=1) > 0.99
    without_name = np.equal(mixture.predict(Z, reject=0.99), None)
    print(f"{kind}: posterior above 0.99 for {sure.mean():.0%}, no name for {without_name.mean():.0%}")

# %%
# More than one in a hundred of the images as they are loses its name, too. The last images of this table are unlike the
# first, and rows that a component was fitted to lie nearer to it than new ones.

# %%
# Names
# -----
# The names of the classes are ours to give, after a look at the pictures.

truth = {}
for name in mixture.novel_classes_:
    found, counts = np.unique(true_new[predicted == name], return_counts=True)
    truth[name] = found[counts.argmax()]
mixture.rename_classes(truth)
right = pipeline.predict(X_new) == true_new
print(f"right names: {right[~is_new].mean():.0%} of the eight digits with a name")
print(f"             {right[is_new].mean():.0%} of threes and eights")
