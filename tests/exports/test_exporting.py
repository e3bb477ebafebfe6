"""Exports of a real dataset, read back by whoever wants them."""

import csv
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from support.jobs import Job, make_job

from pipeline.engines.job import RunOptions, run_job
from pipeline.engines.plan import plan_run
from pipeline.errors import ConfigError, OutputError
from pipeline.exports.exporting import FORMATS, export
from pipeline.store.read import read_results

pytestmark = pytest.mark.anyio


async def dataset(folder: Path, url: str, **settings: Any) -> Job:
    """A run over three pictures, one of them nested, one row's title a formula, and one failure."""
    job = make_job(folder, url, images=2, settings=settings)
    (folder / "nested" / "deep").mkdir(parents=True)
    (folder / "nested" / "deep" / "cat.jpg").write_bytes((folder / "item-000.jpg").read_bytes())
    job.add_rows(["cat", "nested/deep/cat.jpg", "=1+1"], ["gone", "gone.jpg", "Gone"])
    await run_job(plan_run(job.config(), {"ANTHROPIC_API_KEY": "k"}), RunOptions(signals=False))
    return job


def captions(job: Job) -> dict[str, str]:
    """Captions by item."""
    return {row["item_id"]: row["caption"] for row in read_results(job.output).to_pylist()}


async def test_csv_and_jsonl_hold_id_caption_and_the_manifests_columns(tmp_path: Path, start_standin: Any) -> None:
    """Every answered item is a row; a text that a spreadsheet would run is made harmless in csv alone."""
    job = await dataset(tmp_path / "job", start_standin().url)
    assert export(job.output, "csv", tmp_path / "t.csv") == 3
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["item_id", "caption", "title"]
    assert {row["item_id"]: row["caption"] for row in rows} == captions(job)
    assert next(row["title"] for row in rows if row["item_id"] == "cat") == "'=1+1"
    assert export(job.output, "jsonl", tmp_path / "t.jsonl") == 3
    lines = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert {line["item_id"]: line["caption"] for line in lines} == captions(job)
    assert next(line["title"] for line in lines if line["item_id"] == "cat") == "=1+1"


async def test_sidecars_are_nested_like_the_images(tmp_path: Path, start_standin: Any) -> None:
    """One text a picture, with its name and folder."""
    job = await dataset(tmp_path / "job", start_standin().url)
    assert export(job.output, "sidecar", tmp_path / "texts") == 3
    found = {str(path.relative_to(tmp_path / "texts")) for path in (tmp_path / "texts").rglob("*.txt")}
    assert found == {"item-000.txt", "item-001.txt", "nested/deep/cat.txt"}
    assert (tmp_path / "texts/nested/deep/cat.txt").read_text() == captions(job)["cat"]


async def test_an_imagefolder_has_images_and_metadata(tmp_path: Path, start_standin: Any) -> None:
    """Each line of `metadata.jsonl` names a file that is there, with the original bytes."""
    job = await dataset(tmp_path / "job", start_standin().url)
    assert export(job.output, "imagefolder", tmp_path / "folder") == 3
    lines = [json.loads(line) for line in (tmp_path / "folder/metadata.jsonl").read_text().splitlines()]
    assert {line["item_id"]: line["caption"] for line in lines} == captions(job)
    for line in lines:
        assert (tmp_path / "folder" / line["file_name"]).read_bytes() == (job.folder / line["file_name"]).read_bytes()


async def test_a_webdataset_has_a_picture_a_text_and_a_json_for_each_item(tmp_path: Path, start_standin: Any) -> None:
    """Members of one item stand together and share its key."""
    job = await dataset(tmp_path / "job", start_standin().url)
    assert export(job.output, "webdataset", tmp_path / "shards") == 3
    with tarfile.open(tmp_path / "shards" / "00000.tar") as shard:
        names = shard.getnames()
        member = shard.extractfile("cat.txt")
        assert member is not None
        assert member.read().decode() == captions(job)["cat"]
    assert [names[at : at + 3] for at in range(0, 9, 3)] == [
        [f"{key}.jpg", f"{key}.txt", f"{key}.json"] for key in [name.removesuffix(".jpg") for name in names[::3]]
    ]


async def test_an_image_that_is_gone_is_named_and_left_out(
    tmp_path: Path, start_standin: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The others are exported all the same."""
    job = await dataset(tmp_path / "job", start_standin().url)
    (job.folder / "item-001.jpg").unlink()
    assert export(job.output, "imagefolder", tmp_path / "folder") == 2
    assert "item-001.jpg" in caplog.text


@pytest.mark.parametrize("form", FORMATS)
async def test_nothing_that_exists_is_written_over(tmp_path: Path, start_standin: Any, form: Any) -> None:
    """A file, or a folder with something in it, is refused by name."""
    job = await dataset(tmp_path / "job", start_standin().url)
    target = tmp_path / "target"
    if form in ("csv", "jsonl"):
        target.write_text("mine")
    else:
        target.mkdir()
        (target / "mine").write_text("mine")
    with pytest.raises(ConfigError, match="target"):
        export(job.output, form, target)
    assert (target if target.is_file() else target / "mine").read_text() == "mine"


def test_what_is_no_dataset_is_refused(tmp_path: Path) -> None:
    """Nothing is made."""
    with pytest.raises(OutputError):
        export(tmp_path, "csv", tmp_path / "t.csv")
    assert not (tmp_path / "t.csv").exists()
