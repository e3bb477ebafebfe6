"""Items as the pages show them."""

import json
from datetime import UTC, datetime
from pathlib import Path

from support.datasets import answered, failed, write_run

from pipeline.faces.gallery import data_uri, gallery_row
from pipeline.records import ImageRecord
from pipeline.store.read import read_results
from pipeline.store.reviews import Review, Verdict


def test_an_answer_and_a_failure(tmp_path: Path) -> None:
    """Plain JSON values, whatever the manifest's types are."""
    manifest = {"when": datetime(2026, 5, 1, tzinfo=UTC), "big": 1 << 60, "tags": ["a"], "share": 0.5, "none": None}
    outcome = answered("a", manifest={**manifest, "none": "x"}, warnings=("truncated", "truncated"), replies=("1", "2"))
    write_run(tmp_path, [outcome, failed("b")])
    row = gallery_row(read_results(tmp_path).to_pylist()[0])
    assert json.loads(json.dumps(row)) == row
    assert row["warnings"] == ["truncated"]
    assert row["replies"] == ["1", "2"]
    assert row["manifest"]["when"].startswith("2026-05-01T00:00:00")
    assert (row["manifest"]["big"], row["manifest"]["tags"], row["manifest"]["share"]) == (str(1 << 60), '["a"]', "0.5")
    gone = gallery_row(read_results(tmp_path, failures=True).to_pylist()[0])
    assert (gone["failed"], gone["kind"], gone["message"]) == (True, "image_missing", "b went wrong")


def test_sizes_and_reviews_are_said(tmp_path: Path) -> None:
    """The size that was sent where it is another; who reviewed, and when."""
    images = (ImageRecord("x.jpg", width=640, height=480, sent_width=320, sent_height=240),)
    outcome = answered("a")
    object.__setattr__(outcome, "images", images)
    write_run(tmp_path, [outcome])
    review = Review("a", "f1", Verdict.REJECTED, "ada", datetime(2026, 5, 1, 7, 30, tzinfo=UTC))
    row = gallery_row(read_results(tmp_path).to_pylist()[0], review)
    assert row["size"] == "640 × 480, sent 320 × 240 px"
    assert row["review"] == {"verdict": "rejected", "caption": None, "reviewer": "ada", "at": "2026-05-01 07:30"}


def test_pictures_are_named_by_what_they_are() -> None:
    """By their first bytes."""
    assert data_uri(None) == data_uri(b"") == ""
    assert data_uri(b"RIFF0000WEBPx").startswith("data:image/webp;base64,")
    assert data_uri(b"\x89PNG\r\n").startswith("data:image/png;base64,")
    assert data_uri(b"\xff\xd8\xff").startswith("data:image/jpeg;base64,")
