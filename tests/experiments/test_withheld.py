"""Items withheld from training: what was done to them before the cut is gone, and the table tells cold ones apart."""

from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rankstream.experiments.feed.logs import FeedLog
from rankstream.experiments.withheld.logs import WithheldLog, write_withheld
from rankstream.experiments.withheld.table import written_table

LOG = WithheldLog(
    FeedLog("it", "it", "log"), ("acts.parquet", "before.parquet", "users.parquet"), "video", "time", 10, ("seen",)
)


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data" / "log"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"video": [n % 20 for n in range(100)], "time": list(range(100))}), folder / "acts.parquet")
    seen = pa.table({"seen": [[1, 2, 30], list(range(20))], "history_len": [3, 20]})
    pq.write_table(seen, folder / "before.parquet")
    pq.write_table(pa.table({"user": [1]}), folder / "users.parquet")
    return tmp_path / "data"


def test_withheld_items_begin_at_the_cut(data, tmp_path):
    written = write_withheld(LOG, data, tmp_path / "new", share=0.3, seed=0)
    acts = pq.read_table(written.path / "acts.parquet").to_pylist()
    assert written.cut_ms == 850
    assert 0 < len(written.items) < 15
    assert {row["video"] for row in acts if row["time"] < 85} == set(range(20)) - written.items
    assert sum(row["time"] >= 85 for row in acts) == 15
    assert {row["video"] for row in acts if row["time"] >= 85} & written.items


def test_histories_of_before_the_cut_lack_them_too_and_what_else_there_is_is_copied(data, tmp_path):
    written = write_withheld(LOG, data, tmp_path / "new", share=0.3, seed=0)
    histories = pq.read_table(written.path / "before.parquet").to_pylist()
    assert not {item for row in histories for item in row["seen"]} & written.items
    assert all(row["history_len"] == len(row["seen"]) for row in histories)
    assert pq.read_table(written.path / "users.parquet").to_pylist() == [{"user": 1}]


def test_one_file_is_a_log_too(data, tmp_path):
    alone = replace(LOG, log=FeedLog("it", "it", "log/acts.parquet"), files=("acts.parquet",))
    written = write_withheld(alone, data, tmp_path / "new", share=0.3, seed=0)
    assert written.path == tmp_path / "new" / "log" / "acts.parquet"
    assert pq.read_table(written.path).num_rows < 100


def test_the_table_has_cold_and_warm_items_beside_popularity_and_what_was_gained(tmp_path):
    rows = [
        {"query": f"q{at}", "user_id": at, "variant": name, "targets": [item], "hit@10": hit, "hit@100": hit,
         "hit@500": hit, "ndcg@10": None}
        for at, item in enumerate([1, 2, 3, 4])
        for name, hit in (("before", float(item > 1)), ("after", 1.0), ("popularity", 0.0))
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "it.parquet")
    names = {"before": "before", "after": "after"}
    head, _, *lines = written_table(tmp_path / "it.parquet", {2, 3, 4}, names, 500).splitlines()
    assert head == "| requests: 1 cold, 3 warm, 4 all | before | after | popularity | after less before |"
    cold, warm, both = lines[:3]
    assert cold.startswith(
        "| recall@500, cold | .000 [.000, .000] | 1.000 [1.000, 1.000] | .000 [.000, .000] | 1.000 ["
    )
    assert warm.startswith("| recall@500, warm | 1.000 [1.000, 1.000] | 1.000 [1.000, 1.000] | .000 [")
    assert both.startswith("| recall@500, all | .750 [")
    assert both.endswith("| .250 [.000, .750] |")
