"""``sslcluster discover --distributed``: a Parquet folder part by part, on workers of Dask."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import skops.io
from sklearn.metrics import adjusted_rand_score

from sklearn_sslcluster.cli import main
from sklearn_sslcluster.utils import trusted_types

distributed = pytest.importorskip("distributed")
COMMAND = ["discover", "customers", "--label", "segment", "--n-clusters", "4"]
N_ROWS = 240


@pytest.fixture(scope="module")
def scheduler():
    """Address of workers that are threads of this process."""
    options = {"processes": False, "threads_per_worker": 1, "dashboard_address": ":0", "protocol": "tcp"}
    with distributed.LocalCluster(n_workers=2, **options) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def truth(tmp_path, monkeypatch):
    """A folder of two files with three row groups of which each class has rows; two of the classes have names."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.RandomState(0)
    truth = np.arange(N_ROWS) % 4
    names = np.array(["a", "b", None, None], dtype=object)[truth]
    names[rng.permutation(N_ROWS)[: N_ROWS // 4]] = None
    income = 1000.0 * truth + rng.normal(size=N_ROWS)
    income[5] = np.nan
    table = pd.DataFrame(
        {
            "key": np.arange(N_ROWS),
            "income": income,
            "visits": pd.array(10 * truth + rng.randint(3, size=N_ROWS), dtype="Int64"),
            "city": np.array(["Paris", "Rome", "Oslo", "Bonn"])[truth],
            "segment": names,
        }
    )
    (tmp_path / "customers").mkdir()
    for number, rows in enumerate((slice(0, 160), slice(160, None))):
        part = pa.Table.from_pandas(table[rows], preserve_index=False)
        pq.write_table(part, tmp_path / "customers" / f"{number}.parquet", row_group_size=80)
    return truth


def test_classes_are_found_and_written_part_by_part(truth, scheduler, capsys):
    options = ["--distributed", scheduler, "-o", "out", "--model", "model.skops"]
    assert main([*COMMAND, *options]) == 0
    said = capsys.readouterr()
    assert "240 rows" in said.out
    assert "left out, counts the rows: 'key'" in said.out
    assert "--method semi-supervised-kmeans" in said.err
    names = sorted(path.name for path in Path("out").iterdir())
    assert names == ["part-00000.parquet", "part-00001.parquet", "part-00002.parquet"]
    before = pd.read_parquet("customers", dtype_backend="pyarrow")
    after = pd.read_parquet("out", dtype_backend="pyarrow")
    pd.testing.assert_frame_equal(after[before.columns], before)
    assert adjusted_rand_score(truth, after["segment_discovered"]) == 1
    assert (after["is_novel"] == (truth > 1)).all()
    pipeline = skops.io.load("model.skops", trusted=trusted_types())["pipeline"]
    frame = before[["income", "visits"]].astype(float).assign(city=before["city"].astype(object))
    assert pipeline.predict(frame).tolist() == after["segment_discovered"].tolist()


def test_answer_is_that_of_the_table_in_memory(truth, scheduler):
    assert main([*COMMAND, "--distributed", scheduler, "-o", "out", "--quiet"]) == 0
    pd.read_parquet("customers").to_parquet("customers.parquet")
    method = ["--method", "semi-supervised-kmeans"]
    assert main(["discover", "customers.parquet", *COMMAND[2:], *method, "-o", "memory.parquet"]) == 0
    found, expected = (pd.read_parquet(path)["segment_discovered"] for path in ("out", "memory.parquet"))
    assert found.tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "ncd-spectral"], "--method ncd-spectral needs all rows in memory"),
        (["--report", "page.html"], "--report does not go with --distributed"),
        (["--id", "none"], "has no column 'none'"),
        (["-o", "customers"], "customers exists"),
        (["--n-clusters", "999"], "more than the 240 rows"),
    ],
)
def test_what_does_not_go_with_it_is_refused_before_workers_start(truth, options, message, capsys):
    assert main([*COMMAND, *options, "--distributed", "tcp://nobody:1"]) == 2
    assert message in capsys.readouterr().err


def test_tables_that_are_no_parquet_files_are_refused(truth, capsys):
    for table, message in [("none", "none is neither"), (".", "has other columns")]:
        pd.DataFrame({"segment": ["x"]}).to_parquet("other.parquet")
        assert main(["discover", table, *COMMAND[2:], "--distributed", "tcp://nobody:1"]) == 2
        assert message in capsys.readouterr().err


def test_folder_is_not_left_half_written(truth, scheduler, monkeypatch):
    def fail(*args):
        raise ValueError("disk full")

    monkeypatch.setattr("sklearn_sslcluster.cli._distributed._write", fail)
    assert main([*COMMAND, "--distributed", scheduler, "-o", "out"]) == 2
    assert [path.name for path in Path().iterdir()] == ["customers"]
