"""
Choosing a pipeline for classes without labels
==============================================

Which preprocessing finds the new classes best? No candidate can be scored on classes that have no labels. But known
classes can be hidden, found again, and scored: this is what
:class:`~sklearn_sslcluster.model_selection.HiddenClassSearchCV` does. Here we do know the truth about the new classes,
and look at the end whether the search was right.
"""

# %%
# The candidates
# --------------
# Five digits are known, five are not. The candidates differ in how the 64 pixels are reduced before the clustering.
# ``n_clusters`` counts all classes, so it stays 10 when some of the known ones are hidden.

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import spearmanr
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_sslcluster.datasets import load_novel_digits
from sklearn_sslcluster.discovery import SemiSupervisedKMeans
from sklearn_sslcluster.metrics import category_discovery_accuracy
from sklearn_sslcluster.model_selection import HiddenClassSearchCV

digits = load_novel_digits()
pipeline = Pipeline([("reduce", "passthrough"), ("discover", SemiSupervisedKMeans(10, n_init=10, random_state=0))])
candidates = {
    "pixels": "passthrough",
    "standardized pixels": StandardScaler(),
    **{f"PCA, {n} components": PCA(n, random_state=0) for n in (2, 3, 5, 10, 20, 40)},
    **{f"PCA, {n}, whitened": PCA(n, whiten=True, random_state=0) for n in (10, 40)},
}

# %%
# The search
# ----------
# Every fold hides two of the five known digits. Ten folds are all the pairs there are. The labels of the rows without
# a name are used nowhere: there are none.

search = HiddenClassSearchCV(pipeline, {"reduce": list(candidates.values())}, cv=10, random_state=0)
search.fit(digits.data, digits.target)
print(search.best_params_)

# %%
# The check
# ---------
# Each candidate is fitted with all labels that there are, from five seeds, and compared with the true classes of the
# unlabeled rows. Only an experiment can do this.

unlabeled = digits.target == -1
novel_accuracy = np.zeros(len(candidates))
for i, reduce in enumerate(candidates.values()):
    for seed in range(5):
        model = clone(pipeline).set_params(reduce=reduce, discover__random_state=seed)
        found = model.fit_predict(digits.data, digits.target)[unlabeled]
        accuracy = category_discovery_accuracy(digits.target_true[unlabeled], found, known_classes=digits.target)
        novel_accuracy[i] += accuracy.new / 5

hidden_accuracy = search.cv_results_["mean_test_score"]
error = search.cv_results_["std_test_score"] / np.sqrt(search.n_splits_)

# %%
order = np.argsort(hidden_accuracy)
position = np.arange(len(order))
figure, ax = plt.subplots(figsize=(8, 5), layout="constrained")
ax.errorbar(
    hidden_accuracy[order],
    position,
    xerr=error[order],
    fmt="o",
    color="#0072b2",
    label="on hidden classes: what the search sees (± standard error over folds)",
)
ax.plot(novel_accuracy[order], position, "D", color="#d55e00", label="on novel classes: what nobody sees")
ax.set_yticks(position, np.array(list(candidates))[order])
ax.set_xlabel("accuracy")
ax.grid(axis="x", alpha=0.3)
ax.set_title("Candidates in the order of the search, best on top")
figure.legend(loc="outside lower center", frameon=False, reverse=True)
plt.show()

# %%
# The search finds out the worst candidate, and takes a good one, though not the best. In between its order is rough.
# The scores of neighbors differ by less than their error, and the digits that were hidden are not those that are new.
# Read ``std_test_score`` before a small difference.

chosen = search.best_index_
print(f"rank correlation of the two accuracies: {spearmanr(hidden_accuracy, novel_accuracy).statistic:.2f}")
print(f"novel classes: {novel_accuracy[chosen]:.3f} if chosen by the search, {novel_accuracy.max():.3f} at best")
