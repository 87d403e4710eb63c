"""
What are these classes?
=======================

A clustering ends in numbers of classes, and somebody has to find out what they are.
:class:`~sklearn_sslcluster.inspection.ClusterReport` does the first hour of that work: what sets each class apart, a
rule that a person can check, typical rows, rows in doubt, and whether a class would be found again.
"""

# sphinx_gallery_thumbnail_number = 2

# %%
# Wines of a kind nobody has named
# --------------------------------
# Chemical analyses of wines of three growers. Half of the bottles of two growers are labeled; the third grower is
# unknown.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_wine
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_sslcluster.discovery import SemiSupervisedKMeans
from sklearn_sslcluster.inspection import ClusterReport, NovelClassDisplay, NumberOfClustersDisplay

X, growers = load_wine(return_X_y=True, as_frame=True)
y = np.array(["hill", "valley", None], dtype=object)[growers]
y[1::2] = None
model = make_pipeline(StandardScaler(), SemiSupervisedKMeans("auto", k_max=8, random_state=0)).fit(X, y)

# %%
# The number of classes was left open. The criterion has its top where the line is.

NumberOfClustersDisplay.from_estimator(model).ax_.set_title("How many growers?")
plt.show()

# %%
# A look from two directions
# --------------------------
# Diamonds are the bottles that the model takes to be from somebody new.

NovelClassDisplay.from_estimator(model, X, y).ax_.set_title("Wines by grower")
plt.show()

# %%
# The report
# ----------
# In a notebook it shows itself; ``report.to_html("report.html")`` writes a page to pass on. Ten refits to parts of the
# rows say whether the classes come back.

report = ClusterReport(model, X, y, n_bootstraps=10, random_state=0)
report  # noqa: B018

# %%
# Everything in it is also an attribute. What sets the new class apart, in standard deviations:

(novel,) = np.flatnonzero(report.is_novel_)
order = np.argsort(report.differences_[novel])
figure, ax = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
values = report.differences_[novel, order]
ax.barh(np.array(report.feature_names_)[order], values, color=np.where(values > 0, "#d55e00", "#0072b2"))
ax.axvline(0, color="black", lw=0.8)
ax.set(xlabel="mean of the class minus mean of the others, in standard deviations", title="The wines of the new grower")
plt.show()

# %%
# And a rule, with how often it is right on wines that it was not learned from:

rule = report.rules_[novel]
print(rule["text"])
print(f"precision {rule['precision']:.0%}, recall {rule['recall']:.0%}, stability {report.stability_[novel]:.2f}")

# %%
# An expert who reads "strong color, few flavanoids" may know whose wines these are, and the class gets its name:
#
# .. code-block:: python
#
#    model[-1].rename_classes({"novel_0": "plain"})
