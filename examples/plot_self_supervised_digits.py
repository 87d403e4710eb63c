"""
What rows without a label can teach
===================================

Images without a label are cheap, labels are not. A network can learn from the images alone, to fill in what is missing,
or to tell two views of an image from those of others, and give columns that a plain classifier then finds easier than
pixels. Does it? That depends on how many labels there are, and pixels are harder to beat than one might think.
"""

# %%
# Two ways to learn without labels
# --------------------------------
# Three quarters of the images teach the encoders; nobody tells them which digit they show.
# :class:`~sklearn_sslcluster.deep.ContrastiveEncoder` makes two views of each image, the image itself and one with a
# part of its pixels taken from others, and learns which two belong together.
# :class:`~sklearn_sslcluster.deep.PrototypeClustering` begins with an autoencoder, which learns to rebuild images from
# noisy ones. Then it has two views fall to the same prototypes.

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedShuffleSplit

from sklearn_sslcluster.deep import ContrastiveEncoder, PrototypeClustering
from sklearn_sslcluster.model_selection import evaluate_representation

images, digits = load_digits(return_X_y=True)
encoders = {
    "pixels": "passthrough",
    "ContrastiveEncoder": ContrastiveEncoder(max_epochs=40, random_state=0),
    "PrototypeClustering": PrototypeClustering(10, max_pretrain_epochs=100, max_epochs=20, random_state=0),
}

# %%
# A classifier that has few labels, or many
# -----------------------------------------
# :func:`~sklearn_sslcluster.model_selection.evaluate_representation` fits each encoder to the training images, and then
# a logistic regression to what it makes of a few labeled ones, drawn at random five times. It is scored on the quarter
# of the images that neither has seen.

fractions = (0.0075, 0.015, 0.04, 0.1, 0.3, 1.0)
split = StratifiedShuffleSplit(1, test_size=0.25, random_state=0)
results = {
    name: evaluate_representation(
        encoder, images, digits, label_fractions=fractions, cv=split, n_repeats=5, random_state=0
    )
    for name, encoder in encoders.items()
}
for name, result in results.items():
    print(f"{name}: {result.mean[0]:.0%} with one label a digit, {result.mean[-1]:.1%} with all labels")

# %%
# Ahead while labels are few
# --------------------------
# Lines are means over the draws, bands their standard deviation. With a few labels a digit, what
# ``PrototypeClustering`` has learned is worth a lot. With all of them pixels are as good: an embedding leaves something
# out, and labels tell what matters. The contrast gains nothing over pixels here. What it was asked is which image is
# which, not which digit.

figure, ax = plt.subplots(figsize=(7, 4.5), layout="constrained")
colors = ["0.3", "#1f77b4", "#b34700"]
for (name, result), color in zip(results.items(), colors, strict=True):
    ax.plot(result.n_labeled, result.mean, marker="o", color=color, label=name)
    ax.fill_between(result.n_labeled, result.mean - result.std, result.mean + result.std, color=color, alpha=0.15, lw=0)
ax.set(xscale="log", xlabel="labeled images", ylabel="accuracy on new images")
ax.set_xticks(result.n_labeled, [f"{count:.0f}" for count in result.n_labeled])
ax.minorticks_off()
ax.set_title("Logistic regression on pixels, and on what was learned without labels")
ax.legend(frameon=False, loc="lower right")
plt.show()

# %%
# What it was that helped
# -----------------------
# ``PrototypeClustering`` compares the start of its joint training, prototypes in the embedding of the autoencoder, with
# the end, by a criterion that knows no labels, and keeps the better. ``improved_`` tells which.

model = encoders["PrototypeClustering"].fit(images)
print("kept:", "the end of the joint training" if model.improved_ else "the start, which is an autoencoder")
