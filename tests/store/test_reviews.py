"""What reviewers decided: kept whole, the newest counts, and readers see the answers as they were left."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.datasets import answered, snapshot, write_run

import pipeline
from pipeline.store.compact import compact
from pipeline.store.read import read_results
from pipeline.store.reviews import Review, ReviewWriter, Verdict, apply_reviews, newest_reviews

START = datetime(2026, 5, 1, tzinfo=UTC)


def review(item_id: str, verdict: Verdict, caption: str | None = None, at_s: float = 0, mark: str = "f1") -> Review:
    """A decision of Ada's."""
    return Review(item_id, mark, verdict, "ada", START + timedelta(seconds=at_s), caption)


def captions(table: pa.Table) -> dict[str, str]:
    """Captions by item."""
    return dict(zip(table["item_id"].to_pylist(), table["caption"].to_pylist(), strict=True))


def test_readers_see_what_reviewers_left(tmp_path: Path) -> None:
    """Edited captions stand for the answered ones, rejected rows are gone, accepted and unseen ones as they were."""
    write_run(tmp_path, [answered(name) for name in "abcd"])
    writer = ReviewWriter(tmp_path)
    writer.add(review("a", Verdict.ACCEPTED))
    writer.add(review("b", Verdict.EDITED, "a better one"))
    writer.add(review("c", Verdict.REJECTED))
    assert captions(pipeline.read_results(tmp_path, reviewed=True)) == {
        "a": "caption of a",
        "b": "a better one",
        "d": "caption of d",
    }
    assert captions(read_results(tmp_path))["b"] == "caption of b"
    assert read_results(tmp_path, reviewed=True)["replies"].to_pylist()[1] == ["caption of b"]


def test_reviews_are_of_one_fingerprint(tmp_path: Path) -> None:
    """What was decided about another model's caption says nothing about this one."""
    write_run(tmp_path, [answered("a")])
    write_run(tmp_path, [answered("a")], run_id="run-2", fingerprint="f2")
    ReviewWriter(tmp_path).add(review("a", Verdict.REJECTED, mark="f1"))
    assert len(read_results(tmp_path, reviewed=True)) == 1
    assert len(read_results(tmp_path, fingerprint="f1", reviewed=True)) == 0


def test_columns_and_filter_are_of_the_reviewed_rows(tmp_path: Path) -> None:
    """A filter on the caption sees the edited one."""
    write_run(tmp_path, [answered("a"), answered("b")])
    ReviewWriter(tmp_path).add(review("a", Verdict.EDITED, "mended"))
    found = read_results(tmp_path, reviewed=True, columns=["item_id"], filter=pa.compute.field("caption") == "mended")
    assert found.to_pylist() == [{"item_id": "a"}]


@pytest.mark.parametrize("other", ["failures", "requests"])
def test_only_answers_are_reviewed(tmp_path: Path, other: str) -> None:
    """Reviewed failures or requests are not a thing that can be asked for."""
    write_run(tmp_path, [answered("a")])
    with pytest.raises(ValueError, match="reviewed="):
        read_results(tmp_path, reviewed=True, **{other: True})


def test_a_compaction_changes_nothing_about_reviews(tmp_path: Path) -> None:
    """Reviews are as they were, and so are reviewed readers."""
    write_run(tmp_path, [answered("a")])
    write_run(tmp_path, [answered("b")], run_id="run-2")
    ReviewWriter(tmp_path).add(review("a", Verdict.REJECTED))
    before = snapshot(tmp_path / "reviews")
    compact(tmp_path)
    assert snapshot(tmp_path / "reviews") == before
    assert list(captions(read_results(tmp_path, reviewed=True))) == ["b"]


def test_structured_answers_follow_their_edited_text() -> None:
    """`data` is read anew from the edited JSON, and is null where that is none."""
    data = pa.struct([("subject", pa.string()), ("count", pa.int64())])
    rows = pa.table(
        {
            "item_id": ["a", "b", "c"],
            "fingerprint": ["f1"] * 3,
            "caption": ["{}", "{}", "{}"],
            "data": pa.array([{"subject": "cat", "count": 1}] * 3, data),
        }
    )
    edited = json.dumps({"subject": "dog", "count": 2, "more": True})
    reviews = {("a", "f1"): review("a", Verdict.EDITED, edited), ("b", "f1"): review("b", Verdict.EDITED, "no JSON")}
    found = apply_reviews(rows, reviews)
    assert found["data"].to_pylist() == [{"subject": "dog", "count": 2}, None, {"subject": "cat", "count": 1}]
    assert found.schema == rows.schema


def test_a_thousand_decisions_are_a_handful_of_whole_parts(tmp_path: Path) -> None:
    """A part is written anew until it is full; what is in it is what was decided, in order."""
    writer = ReviewWriter(tmp_path)
    for number in range(503):
        writer.add(review(f"item-{number}", Verdict.ACCEPTED, at_s=number))
    parts = sorted((tmp_path / "reviews").iterdir())
    assert [pq.read_metadata(part).num_rows for part in parts] == [500, 3]
    assert len(newest_reviews(tmp_path)) == 503
    row = pq.read_table(parts[0]).to_pylist()[7]
    assert (row["reviewer"], row["verdict"], row["caption"]) == ("ada", "accepted", None)
    assert row["reviewed_at"] == START + timedelta(seconds=7)


def test_a_damaged_part_is_named_and_costs_itself(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The others still count; a verdict that nobody knows is damage."""
    ReviewWriter(tmp_path).add(review("a", Verdict.ACCEPTED))
    (tmp_path / "reviews" / "part-broken.parquet").write_bytes(b"PAR1 nothing")
    foreign = pa.Table.from_pylist([{"item_id": "b", "fingerprint": "f1", "verdict": "perhaps", "caption": None}])
    pq.write_table(foreign, tmp_path / "reviews" / "part-foreign.parquet")
    assert set(newest_reviews(tmp_path)) == {("a", "f1")}
    assert "part-broken.parquet" in caplog.text
    assert "part-foreign.parquet" in caplog.text


def test_lone_surrogates_are_written_out(tmp_path: Path) -> None:
    """What a browser may send and Parquet cannot hold does not lose the decision."""
    ReviewWriter(tmp_path).add(review("a", Verdict.EDITED, "half \ud83d pair"))
    assert newest_reviews(tmp_path)["a", "f1"].caption == "half \\ud83d pair"


DECISIONS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(list(Verdict)), st.integers(0, 5)), min_size=1, max_size=12
)


@settings(max_examples=25, deadline=None)
@given(decisions=DECISIONS, writers=st.integers(1, 3))
def test_the_newest_decision_counts_whoever_wrote_it(
    tmp_path_factory: pytest.TempPathFactory, decisions: list[tuple[str, Verdict, int]], writers: int
) -> None:
    """Over several writers at once, an answer's newest row decides, and `cleared` leaves none."""
    output = tmp_path_factory.mktemp("reviews")
    pool = [ReviewWriter(output) for _ in range(writers)]
    expected: dict[str, tuple[float, Verdict]] = {}
    for number, (item_id, verdict, second) in enumerate(decisions):
        at_s = second + number / 1000  # no two at once: which of two such counts is nobody's promise
        pool[number % writers].add(review(item_id, verdict, "x" if verdict is Verdict.EDITED else None, at_s))
        if item_id not in expected or at_s > expected[item_id][0]:
            expected[item_id] = at_s, verdict
    found = {key[0]: one.verdict for key, one in newest_reviews(output).items()}
    assert found == {name: verdict for name, (_, verdict) in expected.items() if verdict is not Verdict.CLEARED}
