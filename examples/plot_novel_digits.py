"""
Five digits that nobody has named
=================================

The table holds images of ten handwritten digits. Half of the images of zero to four carry a name. Everything else
carries none: the other half, and all images of five to nine. We look for the classes without a name, look at them,
name them, and label new images.
"""

# %%
# The data
# --------
# The last 297 images play the part of tomorrow's rows. A row without a label is ``None`` here; -1, NaN and ``pd.NA``
# would do as well.

import matplotlib.pyplot as plt
import numpy as np

from sklearn_sslcluster.datasets import load_novel_digits
from sklearn_sslcluster.discovery import SemiSupervisedKMeans

words = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"], dtype=object)
digits = load_novel_digits()
y = np.where(digits.target == -1, None, words[digits.target])
y_true = words[digits.target_true]
X_train, X_new = digits.data[:1500], digits.data[1500:]
y_train = y[:1500]

# %%
# How many classes?
# -----------------
# By default the estimator chooses the number of classes, known and novel together, by the silhouette.

first_look = SemiSupervisedKMeans(random_state=0).fit(X_train, y_train)
scores = first_look.n_clusters_scores_
for n_clusters in sorted(scores, key=scores.get, reverse=True)[:6]:
    print(f"{n_clusters:2d} classes: silhouette {scores[n_clusters]:.3f}")

# %%
# The numbers hardly differ, so the choice is a guess. The classes of this table touch each other, and no index of
# compactness can count them well. Here we know better: there are ten digits.

model = SemiSupervisedKMeans(10, random_state=0).fit(X_train, y_train)
print(model.novel_classes_)

# %%
# What was found
# --------------
# The mean image of each class says what is in it. Below each picture stands the check that a user could not make: the
# most frequent true digit among the unlabeled rows of the class, and its share.

unlabeled = np.equal(y_train, None)
figure, axes = plt.subplots(2, 5, figsize=(9, 5), layout="constrained")
for name, ax in zip(model.classes_, axes.flat, strict=True):
    in_class = model.labels_ == name
    ax.imshow(X_train[in_class].mean(axis=0).reshape(8, 8), cmap="gray_r")
    truth, counts = np.unique(y_true[:1500][in_class & unlabeled], return_counts=True)
    is_novel = name in model.novel_classes_
    ax.set_title(f"{name}\n{in_class.sum()} images", color="#b34700" if is_novel else "black")
    ax.set_xlabel(f"truth: {truth[counts.argmax()]} {counts.max() / counts.sum():.0%}")
    ax.set(xticks=[], yticks=[])
axes[0, 0].set_ylabel("known", fontsize="large")
axes[1, 0].set_ylabel("discovered", fontsize="large", color="#b34700")
figure.suptitle("Mean images of the known and of the discovered classes")
plt.show()

# %%
# Not all is well. The known class "one" has drawn many eights. A center is all that k-means keeps of a class, and ones
# are written in several ways, whose mean is a broad smudge that an eight resembles.

# %%
# Names for new rows
# ------------------
# The names are ours to give, after a look at the pictures. ``predict`` uses them from then on. With ``reject=0.99`` a
# row farther from its class than 99 % of the training rows of the class gets no name.

model.rename_classes({"novel_0": "nine", "novel_1": "seven", "novel_2": "six", "novel_3": "five", "novel_4": "eight"})
predicted = model.predict(X_new, reject=0.99)
print(predicted[:8])

named = ~np.equal(predicted, None)
right = predicted == y_true[1500:]
is_old = np.isin(y_true[1500:], words[:5])
print(f"new images without a name: {(~named).sum()} of {len(named)}")
print(f"right names among the others: {right[named & is_old].mean():.0%} of zero to four")
print(f"                              {right[named & ~is_old].mean():.0%} of five to nine")
