"""
Four looks at a digit
=====================

A classifier that has learned to tell how an image was turned can be shown each image four times. What one look gets
wrong, the others may put right. :class:`~sklearn_sslcluster.deep.LabelAugmentationClassifier` trains it, and joins what
the four looks say.
"""

# %%
# Few labels, four turns
# ----------------------
# 300 images have a label. Each is shown as it is, and turned by 90, 180 and 270 degrees, and the network learns which
# digit it is *and* how it was turned: forty joint labels in place of ten.

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sklearn_sslcluster.deep import LabelAugmentationClassifier


def turned(X, quarters):
    return np.rot90(X.reshape(-1, 8, 8), quarters, axes=(1, 2)).reshape(X.shape)


images, digits = load_digits(return_X_y=True)
X, X_new, y, y_new = train_test_split(images, digits, train_size=300, stratify=digits, random_state=0)
turns = [partial(turned, quarters=quarters) for quarters in (1, 2, 3)]
model = LabelAugmentationClassifier(transforms=turns, random_state=0).fit(X, y)

# %%
# One look and four
# -----------------
# The same network is read twice: of the image as it is, and of the mean over four turns.

proba = {}
for inference in ("single", "aggregate"):
    model.set_params(inference=inference)
    proba[inference] = model.predict_proba(X_new)
    print(f"{inference}: {model.score(X_new, y_new):.1%}")

# %%
# Where they differ
# -----------------
# Of the images on which the two readings disagree, three that the mean puts right, and one that it spoils, each with
# what both say.

single, aggregate = (proba[inference].argmax(axis=1) for inference in ("single", "aggregate"))
righted = np.flatnonzero((single != y_new) & (aggregate == y_new))
spoiled = np.flatnonzero((single == y_new) & (aggregate != y_new))
print(f"{len(righted)} images are put right, {len(spoiled)} are spoiled")

chosen = np.concatenate([righted[:3], spoiled[:1]])
figure, axes = plt.subplots(2, len(chosen), figsize=(9, 4.4), layout="constrained", height_ratios=[1, 1.2])
for image, (above, below) in zip(chosen, axes.T, strict=True):
    above.imshow(X_new[image].reshape(8, 8), cmap="gray_r")
    above.set_title(f"a {y_new[image]}, {'put right' if aggregate[image] == y_new[image] else 'spoiled'}")
    above.set_axis_off()
    places = np.arange(10)
    below.bar(places - 0.2, proba["single"][image], 0.4, label="as it is", color="#999999")
    below.bar(places + 0.2, proba["aggregate"][image], 0.4, label="mean over four turns", color="#b34700")
    below.set(xticks=places, ylim=(0, 1), xlabel="digit")
    below.get_xticklabels()[y_new[image]].set_fontweight("bold")
axes[1, 0].set_ylabel("probability")
figure.legend(*axes[1, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
plt.show()

# %%
# Is it worth it?
# ---------------
# That depends on what one compares with. The same network without turns learns ten labels only, and on these images it
# has little to gain: a multilayer perceptron has to learn four pictures of each digit without being told that they are
# turned. See the user guide for when label augmentation helps.

alone = LabelAugmentationClassifier(transforms=[], random_state=0).fit(X, y)
print(f"without turns: {alone.score(X_new, y_new):.1%}")
