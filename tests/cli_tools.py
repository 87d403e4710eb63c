"""What the tests of the command share."""

import csv

import numpy as np
import pandas as pd

from sklearn_sslcluster.cli import main

CITIES = np.array(["Paris", "Rome", "Oslo", "Bonn"])


def planted(n_rows=120, seed=0):
    """Four classes told apart by every column, two of them named "NA" and "007"; text as in a CSV file."""
    rng = np.random.RandomState(seed)
    truth = np.arange(n_rows) % 4
    label = np.array(["NA", "007", "", ""])[truth]
    label[rng.permutation(n_rows)[: n_rows // 4]] = ""
    table = pd.DataFrame(
        {
            "key": [f"k{i}" for i in range(n_rows)],
            "code": np.where(truth % 2, "007", "1.50"),
            "income": [f"{value:.2f}" for value in 1000 * truth + rng.normal(size=n_rows)],
            "city": CITIES[truth],
            "segment": label,
        }
    )
    return table, truth


def write_planted():
    """The planted table as customers.csv."""
    table, _ = planted()
    table.to_csv("customers.csv", index=False)
    return table


# The quickest method, where the method is not what a test is about.
QUICK = ["--method", "semi-supervised-kmeans"]


def discover(*args, name="customers.csv", n_clusters="4"):
    return main(["discover", name, "--label", "segment", "--n-clusters", n_clusters, *QUICK, *args])


def cells(name):
    """Rows of a text file, as text."""
    with open(name, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def result(name):
    return pd.read_csv(name, dtype=str, keep_default_na=False)


def error_of(capsys):
    """The one line on standard error."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("sslcluster")
    assert err.count("\n") == 1
    return err
