"""Writes fitted models to files, for a release; test_persistence.py loads those of every release.

    python -m tests.persistence_tools

Run it once for a release, after its version is set, and commit the files.
"""

import warnings
import zipfile
from pathlib import Path

import numpy as np
import skops.io
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_sslcluster import __version__
from sklearn_sslcluster.datasets import make_partially_labeled_blobs
from sklearn_sslcluster.deep import NetworkSettings
from sklearn_sslcluster.utils import all_estimators
from tests.test_common import TEST_PARAMETERS

DATA = Path(__file__).parent / "data" / "persistence"
N_TRAINED, N_NEW = 60, 20
# Small networks make small files. Other estimators have not all of these.
PARAMETERS = {"encoder": NetworkSettings((6,)), "embedding_size": 3, "n_init": 1, "n_clusters": 5, "random_state": 0}


def rows():
    """Rows to fit to, partial labels that are names, and new rows."""
    X, y, _ = make_partially_labeled_blobs(
        N_TRAINED + N_NEW, n_known=3, n_novel=2, labeled_fraction=0.5, random_state=0
    )
    names = np.array(["ash", "beech", "cedar", None], dtype=object)[y]
    return X[:N_TRAINED], names[:N_TRAINED], X[N_TRAINED:]


def instance(name, cls):
    model = clone(cls(**TEST_PARAMETERS.get(name, {})))
    own = model.get_params(deep=False)
    return model.set_params(**{key: value for key, value in PARAMETERS.items() if key in own})


def saved(name, cls):
    """What the file of an estimator holds."""
    X, y, new = rows()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = make_pipeline(StandardScaler(), instance(name, cls)).fit(X, y)
    method = "predict" if hasattr(cls, "predict") else "transform"
    return {"model": model, "method": method, "rows": new, "answers": getattr(model, method)(new)}


def write():
    folder = DATA / __version__
    folder.mkdir(parents=True, exist_ok=True)
    for name, cls in all_estimators():
        target = folder / f"{name}.skops"
        skops.io.dump(saved(name, cls), target, compression=zipfile.ZIP_DEFLATED, compresslevel=9)
        print(f"{target.stat().st_size:7,} {target.name}")


if __name__ == "__main__":
    write()
