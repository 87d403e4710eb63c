"""
Ellipses that grow, split and merge
===================================

:class:`~sklearn_sslcluster.mixture.SemiSupervisedGaussianMixture` gives each class an ellipse: a mean and a covariance.
Expectation-maximization moves and stretches the ellipses until the likelihood grows no more. It cannot carry one of
them across another. Moves that split one component and merge two others can. We look at all of this in a flat picture.
"""

# %%
# The data
# --------
# Five handwritten digits on their first two principal axes. Half of the zeros and fours carry a label. Threes, sixes
# and sevens carry none.

import warnings

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Ellipse
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning

from sklearn_sslcluster.datasets import hide_classes
from sklearn_sslcluster.mixture import SemiSupervisedGaussianMixture, SplitMergeGaussianMixture

images, y_true = load_digits(return_X_y=True)
shown = np.isin(y_true, [0, 3, 4, 6, 7])
X, y_true = PCA(2, random_state=0).fit_transform(images[shown]), y_true[shown]
y = hide_classes(y_true, novel_classes=[3, 6, 7], labeled_fraction=0.5, random_state=0)

digit_colors = {0: "#0072b2", 3: "#e69f00", 4: "#009e73", 6: "#cc79a7", 7: "#56b4e9"}


def draw(ax, model, title):
    """Rows in the colors of the true digits, components as ellipses of two standard deviations."""
    for digit, color in digit_colors.items():
        ax.scatter(*X[y_true == digit].T, s=8, alpha=0.5, linewidths=0, color=color, label=str(digit))
    for mean, covariance, is_novel in zip(model.means_, model.covariances_, model.is_novel_, strict=True):
        variances, axes = np.linalg.eigh(covariance)
        angle = np.degrees(np.arctan2(axes[1, 1], axes[0, 1]))
        width, height = 4 * np.sqrt(variances[::-1])
        ax.add_patch(Ellipse(mean, width, height, angle=angle, fill=False, lw=2, ls="-" if is_novel else "--"))
    ax.set(title=title, xticks=[], yticks=[], xlim=(-42, 38), ylim=(-40, 36), aspect="equal")


def add_legend(figure, ax, ncols=7):
    handles, labels = ax.get_legend_handles_labels()
    ellipses = [plt.Line2D([], [], color="black", lw=2, ls=style) for style in ("--", "-")]
    figure.legend(
        handles + ellipses,
        [*labels, "component of a known class", "novel component"],
        loc="outside lower center",
        ncols=ncols,
        frameon=False,
        markerscale=2.5,
    )


# %%
# Growing
# -------
# With ``means_init`` there is a single run of expectation-maximization and no move. The known classes start from the
# means of their labeled rows, the three novel components from three rows drawn at random. The ellipses grow into
# the groups next to them, and stop where no small change helps.

known_means = [X[y == digit].mean(axis=0) for digit in (0, 4)]


def start_at_random(seed):
    drawn = np.random.RandomState(seed).choice(np.flatnonzero(y == -1), 3, replace=False)
    return np.vstack([*known_means, X[drawn]])


figure, axes = plt.subplots(1, 4, figsize=(12, 3.7), layout="constrained")
for ax, max_iter in zip(axes, [1, 4, 12, 200], strict=True):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = SemiSupervisedGaussianMixture(5, means_init=start_at_random(6), max_iter=max_iter).fit(X, y)
    draw(ax, model, f"after {model.n_iter_} iteration{'s' if model.n_iter_ > 1 else ''}")
add_legend(figure, axes[0])
plt.show()

# %%
# Two novel components share the threes, and the known class of the zeros has to cover the sixes as well.

# %%
# What moves are worth
# --------------------
# What would help is one exchange: split the component of the zeros, merge the two of the threes. The search tries such
# exchanges, the most promising first, and keeps one if the likelihood has grown. Below are twelve starts, and how
# likely the rows are in the end. Without moves a run ends in one of several optima. With moves every single start is
# carried to the best of them.

alone, with_moves = [], []
for seed in range(12):
    alone.append(SemiSupervisedGaussianMixture(5, means_init=start_at_random(seed)).fit(X, y))
    model = SemiSupervisedGaussianMixture(5, init="random", n_init=1, random_state=seed)
    with_moves.append(model.fit(X, y))

figure, ax = plt.subplots(figsize=(8, 3), layout="constrained")
jitter = np.linspace(-0.25, 0.25, 12)
ax.plot([model.lower_bound_ for model in alone], jitter, "o", color="#0072b2", alpha=0.7)
ax.plot([model.lower_bound_ for model in with_moves], 1 + jitter, "D", color="#d55e00", alpha=0.7)
ax.set_yticks([0, 1], ["one start", "one start\nand moves"])
ax.set(ylim=(-0.5, 1.5), xlabel="mean log likelihood of a row", title="Where twelve random starts end")
ax.grid(axis="x", alpha=0.3)
plt.show()

# %%
# The default is twenty starts, and moves from the best three. Where classes overlap in many dimensions both are needed.

# %%
# Splitting: how many components?
# -------------------------------
# ``n_components="auto"`` begins with the known classes alone. Each further mixture is grown from the one before, by the
# split that brings most, and improved by exchanges. Each component has a price: that of the Bayesian information
# criterion, raised to what it would bring to split a known class.

automatic = SemiSupervisedGaussianMixture(random_state=0).fit(X, y)
figure, axes = plt.subplots(2, 3, figsize=(10, 7), layout="constrained")
for ax, n_components in zip(axes.flat, [2, 3, 4, 5, 6], strict=False):
    model = SemiSupervisedGaussianMixture(n_components, random_state=0).fit(X, y)
    draw(ax, model, f"{n_components} components")
scores = automatic.n_components_scores_
axes[1, 2].plot(list(scores), list(scores.values()), "o-", color="black")
axes[1, 2].plot(automatic.n_components_, scores[automatic.n_components_], "o", ms=11, color="#d55e00")
axes[1, 2].set(title="likelihood less the price", xlabel="components", ylabel="nats")
axes[1, 2].set_xticks(list(scores))
axes[1, 2].grid(alpha=0.3)
add_legend(figure, axes[0, 0])
plt.show()

# %%
# With two components the zeros and the fours have to take in everything else. The splits then set free one digit after
# the other. The sixth component would halve one of them, and costs more than it brings.

# %%
# Merging
# -------
# :class:`~sklearn_sslcluster.mixture.SplitMergeGaussianMixture` takes another way. It begins with any number of
# components and a prior of their shape, and splits or merges as long as the partition becomes more probable. Here it
# begins with ten. Few degrees of freedom let the components differ in shape; by default the prior trusts the shape of
# the known classes more.

few_rounds, to_the_end = (
    SplitMergeGaussianMixture(10, prior={"dof": 7}, n_init=1, max_rounds=n_rounds, random_state=0).fit(X, y)
    for n_rounds in (1, 30)
)
for move in to_the_end.history_:
    print(
        f"round {move['round']}: {move['move']} {move['components']}, log ratio {move['log_ratio']:.1f}, "
        f"{move['n_components']} components left"
    )

figure, axes = plt.subplots(1, 2, figsize=(8, 5), layout="constrained")
draw(axes[0], few_rounds, "after the first round of moves")
draw(axes[1], to_the_end, "when no move helps")
add_legend(figure, axes[0], ncols=4)
plt.show()
