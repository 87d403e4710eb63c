"""
=======================================
New digits on autopilot: which method?
=======================================

Seven of the ten handwritten digits have names, three have none. Which method will find those, and are they three? The
unnamed digits themselves do not tell. But the named ones can be hidden:
:class:`~sklearn_sslcluster.auto.NovelClassDiscovery` hides some of them, lets a portfolio of pipelines look for them,
and keeps what finds them again.
"""

# %%
# The table
# ---------
# A quarter of the digits of scikit-learn, to keep this page quick. Pixels share a unit and are not scaled.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

from sklearn_sslcluster.auto import LeaderboardDisplay, NovelClassDiscovery, default_candidates
from sklearn_sslcluster.datasets import hide_classes
from sklearn_sslcluster.metrics import clustering_accuracy

X, y_true = load_digits(return_X_y=True)
X, y_true = X[::4], y_true[::4]
y = hide_classes(y_true, novel_classes=[3, 5, 8])
unnamed = y == -1
print(f"{len(y)} rows, {unnamed.sum()} of them unnamed, {len(np.unique(y[~unnamed]))} known classes")

# %%
# The choice
# ----------
# The default portfolio without its slowest members, and three trials. The number of classes is to be found, too.

slow = ("mixture", "projection")
candidates = [entry for entry in default_candidates("novel", n_features=64) if entry[0] not in slow]
candidates[-1][2]["metric"] = ["passthrough"]  # Of the neighbor embedding; once is slow enough.
model = NovelClassDiscovery(candidates=candidates, n_splits=3, random_state=0).fit(X, y)

# %%
# Each dot is a trial: how many rows of hidden digits a candidate named rightly. What is in color was kept. Candidates
# that are equally good at that are told apart by how far they agree with the others on the unnamed rows, so the bars
# need not be sorted.

LeaderboardDisplay.from_estimator(model)
plt.show()

# %%
# What came of it
# ---------------
# Four counters say how many digits there are. In the trials it was seen how wrong each of them tends to be; that
# decides how much its answer counts. Where they disagree, the interval says so.

for counter, (answer, error, share) in model.n_clusters_votes_.items():
    print(f"{counter:22} {answer} classes, {error:.0%} off in the trials, {share:.0%} of the votes")
print(f"answer: {model.n_clusters_} classes, between {model.n_clusters_interval_}")

k_means = KMeans(3, n_init=10, random_state=0).fit_predict(X[unnamed])
print(f"accuracy on unnamed rows: {clustering_accuracy(y_true[unnamed], model.labels_[unnamed]):.3f}")
print(f"k-means, told that there are three: {clustering_accuracy(y_true[unnamed], k_means):.3f}")

# %%
# What to look at next
# --------------------
# ``suggest_rows`` lists the rows that are most worth a label: one amid each new class, which names it, then those in
# doubt.

rows = model.suggest_rows(8)
figure, axes = plt.subplots(1, len(rows), figsize=(9, 1.8), layout="constrained")
for ax, row in zip(axes, rows, strict=True):
    ax.imshow(X[row].reshape(8, 8), cmap="gray_r")
    ax.set(title=f"class {model.labels_[row]}\n{model.confidence_[row]:.0%} of votes", xticks=[], yticks=[])
    ax.title.set_fontsize(9)
plt.show()
