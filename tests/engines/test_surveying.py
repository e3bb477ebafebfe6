"""Manifests looked at without sending: what is counted beforehand is what a run then sends."""

import random
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from PIL import Image
from support.jobs import Job, make_job
from support.pictures import encoded, smooth
from support.running import plan_of, run
from support.standins import billed
from support.web import Web, reply

from pipeline.engines.selection import Choice, Part, chosen, chosen_part
from pipeline.engines.surveying import Survey, Surveyor, counting_writer
from pipeline.images.geometry import image_tokens, seed_tokens
from pipeline.images.sources import ImageSource
from pipeline.manifest.producer import open_manifest
from pipeline.manifest.seen import SeenItems
from pipeline.records import ImageRecord, Message, PreparedImage

pytestmark = pytest.mark.anyio
NOWHERE = "http://127.0.0.1:9"


async def surveyed(job: Job, *overrides: str, sample: int | None = None, most_items: int = 1000) -> Survey:
    """What is found in a job's manifest, of which a sample or a number of items is looked at."""
    plan, survey = plan_of(job, *overrides), Survey()
    part = Part() if sample is None else chosen_part(plan.manifest, Choice(sample=sample))
    with open_manifest(plan.manifest) as manifest, TemporaryDirectory() as scratch, SeenItems(Path(scratch)) as seen:
        templates = plan.templates(manifest)
        async with ImageSource(plan.sources(manifest)) as source, plan.decoders(1) as decoders:
            preparer = plan.preparer(source, templates, decoders)
            batches = chosen(manifest, seen, Part())
            await Surveyor(plan, preparer, templates, survey).through(batches, part, most_items)
    return survey


def mixed(folder: Path, url: str, count: int, **settings: Any) -> Job:
    """A job of pictures of all sizes and shapes; every third lies on its side, as a camera writes it."""
    chance = random.Random(count)
    job = make_job(folder, url, images=0, settings=settings)
    for number in range(count):
        image = smooth(chance.randint(20, 2600), chance.randint(20, 2000), number)
        exif = Image.Exif()
        exif[0x0112] = 6 if number % 3 == 0 else 1
        sink = BytesIO()
        image.save(sink, "JPEG", exif=exif)
        (folder / f"{number}.jpg").write_bytes(sink.getvalue())
        job.add_rows([f"item-{number}", f"{number}.jpg", f"Picture {number} " * (number % 4 + 1)])
    return job


async def test_what_is_counted_is_what_a_run_sends(tmp_path: Path, start_standin: Any) -> None:
    """Requests, pictures, their visual tokens and the text, to the last one; nothing was sent for it."""
    server = start_standin()
    job = mixed(tmp_path, server.url, 18)
    survey = await surveyed(job)
    assert server.service.counts["requests"] == 0
    assert (await run(job)).exit_code == 0
    bill = billed(server.options.log)
    sizes = [size for line in bill for size in line["sizes"]]
    requests = [asked for turns in survey.asked for asked in turns]
    assert (survey.items, survey.images, survey.looked_at) == (18, len(sizes), 18)
    assert len(requests) == len(bill)
    assert sum(asked.visual for asked in requests) == sum(image_tokens(*size) for size in sizes)
    assert sum(asked.characters for asked in requests) == sum(len(line["text"]) for line in bill)
    assert survey.seed == pytest.approx(sum(seed_tokens(*size) for size in sizes))
    assert all(asked.least_visual == asked.visual for asked in requests)


async def test_every_turn_is_a_request_that_carries_those_before_it(tmp_path: Path, start_standin: Any) -> None:
    """A picture is counted in each of them, as it is sent in each; text grows by the turn and an expected reply."""
    server = start_standin()
    job = mixed(tmp_path, server.url, 4, prompt={"user": ["Describe {{ title }}.", "Now in one sentence."]})
    survey = await surveyed(job)
    assert (await run(job)).exit_code == 0
    bill = billed(server.options.log)
    assert [len(turns) for turns in survey.asked] == [2] * 4
    assert len(bill) == 8
    visual = sum(asked.visual for turns in survey.asked for asked in turns)
    assert visual == sum(image_tokens(*size) for line in bill for size in line["sizes"])
    assert all(second.characters > first.characters + len("Now in one sentence.") for first, second in survey.asked)


async def test_an_item_that_would_fail_is_named_and_costs_itself(tmp_path: Path) -> None:
    """A picture that is gone or none, a row named twice: the others are counted, and the first of them is kept."""
    job = make_job(tmp_path, NOWHERE, images=3)
    (tmp_path / "item-000.jpg").write_bytes(b"no picture")
    (tmp_path / "item-001.jpg").unlink()
    job.add_rows(["item-002", "item-000.jpg", "again"], ["x" * 300, "gone.jpg", "long name"])
    survey = await surveyed(job)
    assert (survey.items, survey.looked_at, len(survey.asked)) == (5, 5, 1)
    assert sorted(survey.faults)[:3] == [
        "item-000: image_unsupported",
        "item-001: image_missing",
        "item-002: duplicate_id",
    ]
    assert survey.faults[-1] == f"{'x' * 100}: image_missing"
    assert survey.first is not None
    assert survey.first[1].item_id == "item-002"


@pytest.mark.parametrize(("sample", "most_items", "looked_at"), [(None, 4, 4), (5, 1000, 5), (5, 2, 2), (None, 0, 0)])
async def test_all_are_counted_and_some_looked_at(
    tmp_path: Path, sample: int | None, most_items: int, looked_at: int
) -> None:
    """A sample, the first ones, or none; the same in every survey."""
    job = make_job(tmp_path, NOWHERE, images=12)
    first, second = [await surveyed(job, sample=sample, most_items=most_items) for _ in range(2)]
    assert (first.items, first.images, first.looked_at, len(first.asked)) == (12, 12, looked_at, looked_at)
    assert first.asked == second.asked
    assert (first.first is None) == (looked_at == 0)


async def test_pictures_behind_urls_are_not_fetched(tmp_path: Path) -> None:
    """They count as the largest that the model sees, and as small ones at the least."""
    with Web({"/a.jpg": reply(encoded(smooth(300, 300)))}) as web:
        job = make_job(tmp_path, NOWHERE, images=1)
        job.add_rows(["url", f"{web.url}/a.jpg", "Picture 0"])
        survey = await surveyed(job)
        assert web.connections == 0
    [local], [remote] = survey.asked
    assert (survey.images, survey.unmeasured) == (2, 1)
    assert local.least_visual == local.visual == image_tokens(240, 200)
    assert (remote.least_visual, remote.visual) == (64, plan_of(job).images.bounds.max_tokens)
    assert remote.characters == local.characters


async def test_the_size_that_is_counted_follows_the_configuration(tmp_path: Path) -> None:
    """A smaller bound makes fewer tokens, before anything is prepared."""
    job = make_job(tmp_path, NOWHERE, images=0)
    (tmp_path / "a.jpg").write_bytes(encoded(smooth(1200, 900)))
    job.add_rows(["a", "a.jpg", "x"])
    [[full]] = (await surveyed(job)).asked
    [[small]] = (await surveyed(job, "images.max_edge=300")).asked
    assert full.visual == image_tokens(1200, 900)
    assert small.visual < full.visual / 10


async def test_the_counting_writer_knows_what_the_model_reads(tmp_path: Path) -> None:
    """System prompt, tools and the schema of the last turn add text; what is only a setting adds none."""
    job = make_job(tmp_path, NOWHERE, images=0)
    turn = [Message("user", ("Describe.", PreparedImage(b"", ImageRecord("a"))))]

    def need(*overrides: str, last: bool = True) -> tuple[int, int]:
        return counting_writer(plan_of(job, *overrides), last=last, most_visual=77).need(turn)

    schema = 'prompt.schema={type="object", properties={caption={type="string"}}}'
    assert need() == need("api.max_tokens=9") == (77, len("Describe."))
    assert need('prompt.system="Be brief."') == (77, len("Be brief.Describe."))
    assert need('prompt.tools=["zoom"]')[1] > 300
    assert need(schema)[1] > need(schema, last=False)[1] == len("Describe.")
