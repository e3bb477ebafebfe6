"""What `pipeline view` knows of a dataset; most of it is tested over its socket in `test_view`."""

from pathlib import Path

from support.datasets import answered, write_run

from pipeline.exports.folders import Originals
from pipeline.faces.watching import Watch
from pipeline.store.compact import compact
from pipeline.store.searching import Query


def test_a_compaction_between_two_pages_costs_nothing(tmp_path: Path) -> None:
    """Parts that are gone since they were listed are looked for anew, at once."""
    write_run(tmp_path, [answered("a")])
    write_run(tmp_path, [answered("b")], run_id="run-2")
    watch = Watch(tmp_path, Originals(tmp_path), "ada")
    assert watch.items(Query(), "", 0, 10)["total"] == 2
    compact(tmp_path)
    found = watch.items(Query(sort="id", descending=False), "", 0, 10)
    assert [row["id"] for row in found["rows"]] == ["a", "b"]


def test_verdicts_choose(tmp_path: Path) -> None:
    """Open ones, and those of one verdict; the state counts them and is another revision."""
    write_run(tmp_path, [answered("a"), answered("b")])
    watch = Watch(tmp_path, Originals(tmp_path), "ada")
    before = watch.state()
    watch.review({"id": "a", "fingerprint": "f1", "verdict": "accepted"})
    assert [row["id"] for row in watch.items(Query(), "open", 0, 10)["rows"]] == ["b"]
    assert [row["id"] for row in watch.items(Query(), "accepted", 0, 10)["rows"]] == ["a"]
    assert watch.items(Query(), "rejected", 0, 10)["total"] == 0
    state = watch.state()
    assert state["reviewed"] == {"accepted": 1}
    assert (state["captioned"], state["failed"], state["sent"], state["cost_usd"]) == (2, 0, 2, 1.0)
    assert before["reviewed"] == {}
