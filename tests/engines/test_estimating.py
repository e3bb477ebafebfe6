"""The estimate against the bill: what was said before is held against what the stand-in counted afterwards."""

import random
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.jobs import Job, make_job
from support.pictures import encoded, smooth
from support.running import plan_of, run
from support.standins import answers, billed
from support.web import Web, reply

from pipeline.engines.estimating import Estimate, run_estimate
from pipeline.images.geometry import seed_tokens

pytestmark = pytest.mark.anyio
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


def mixed(folder: Path, url: str, count: int, **settings: Any) -> Job:
    """A job of pictures of all sizes, shapes and formats, some lying on their side."""
    chance = random.Random(7)
    job = make_job(folder, url, images=0, settings=settings)
    for number in range(count):
        width, height = chance.randint(20, 2400), chance.randint(20, 1900)
        raw = encoded(smooth(width, height, number), FORMATS[number % len(FORMATS)])
        if number % 7 == 0:
            raw = turned(raw)
        (folder / f"{number}.img").write_bytes(raw)
        job.add_rows([f"item-{number}", f"{number}.img", f"Picture number {number} " * (number % 5 + 1)])
    return job


def turned(raw: bytes) -> bytes:
    """The picture as a camera on its side writes it."""
    sink = BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(BytesIO(raw)) as image:
        image.convert("RGB").save(sink, "JPEG", exif=exif)
    return sink.getvalue()


async def estimated(job: Job, *overrides: str, online: bool = False) -> Estimate:
    """The estimate of a job."""
    return await run_estimate(plan_of(job, *overrides), online=online)


async def test_input_is_within_two_percent_of_the_bill(tmp_path: Path, start_standin: Any) -> None:
    """Mixed pictures with rendered prompts: nothing was sent before, and the sum is nearly exact."""
    server = start_standin()
    job = mixed(tmp_path, server.url, 36)
    before = await estimated(job)
    assert server.service.counts["requests"] == 0
    assert (await run(job)).exit_code == 0
    bill = billed(server.options.log)
    actual, mode = sum(line["input_tokens"] for line in bill), before.modes["messages"]
    assert mode.input_tokens == pytest.approx(actual, rel=0.02)
    assert (before.items, before.images, before.sampled) == (36, 36, 36)
    spent = sum(line["cost_usd"] for line in bill)
    assert mode.cost_usd_low is not None
    assert mode.cost_usd_high is not None
    assert mode.cost_usd_low <= spent <= mode.cost_usd_high
    assert before.modes["batches"].cost_usd == pytest.approx((mode.cost_usd or 0) / 2, rel=1e-9)
    assert before.modes["batches"].input_tokens == mode.input_tokens
    sizes = [size for line in bill for size in line["sizes"]]
    assert before.seed_image_tokens == pytest.approx(sum(seed_tokens(*size) for size in sizes), rel=0.001)


@pytest.mark.parametrize(
    "prompt",
    [
        {"system": "Be brief. " * 40, "user": ["Describe {{ title }}.", "Now in one sentence."]},
        {"user": "Describe {{ title }}.", "prefill": "The picture shows"},
    ],
)
async def test_every_turn_carries_the_turns_before_it(
    tmp_path: Path, start_standin: Any, prompt: dict[str, Any]
) -> None:
    """System prompt and images are paid for in each turn; what the replies add is guessed."""
    server = start_standin()
    job = mixed(tmp_path, server.url, 8, prompt=prompt)
    before = await estimated(job)
    await run(job)
    actual = sum(line["input_tokens"] for line in billed(server.options.log))
    assert before.modes["messages"].input_tokens == pytest.approx(actual, rel=0.06)


async def test_a_cached_prefix_is_estimated_at_its_own_rates(tmp_path: Path, start_standin: Any) -> None:
    """One write and many reads: the money is near the bill, and far below that without the cache."""
    server = start_standin()
    job = mixed(tmp_path, server.url, 12, prompt={"system": "Write one sentence. " * 900, "cache": True})
    before, plain = await estimated(job), await estimated(job, "prompt.cache=false")
    await run(job)
    bill = billed(server.options.log)
    outputs = sum(line["output_tokens"] for line in bill)
    expected = (before.modes["messages"].cost_usd or 0) + (outputs - before.modes["messages"].output_tokens) * 5e-6
    assert expected == pytest.approx(sum(line["cost_usd"] for line in bill), rel=0.02)
    assert (before.modes["messages"].cost_usd or 0) < (plain.modes["messages"].cost_usd or 0) * 0.6


async def test_a_large_manifest_is_sampled_and_its_bounds_widen(tmp_path: Path) -> None:
    """The same items are looked at each time, all are counted, and the truth lies within the bounds."""
    job = mixed(tmp_path, "http://127.0.0.1:9", 40)
    whole = await estimated(job)
    first, second = [await run_estimate(plan_of(job), most_items=15) for _ in range(2)]
    assert first == second
    assert (first.items, first.images, first.sampled) == (40, 40, 15)
    low, high = first.modes["messages"].cost_usd_low, first.modes["messages"].cost_usd_high
    expected = whole.modes["messages"].cost_usd
    assert low is not None
    assert high is not None
    assert expected is not None
    assert low < expected < high
    assert any("15 of 40 items" in remark for remark in first.remarks)


async def test_one_counted_request_narrows_the_bounds(tmp_path: Path, start_standin: Any) -> None:
    """It is free, it is the only one, and it says how many tokens this prompt's text has."""
    server = start_standin()
    job = mixed(tmp_path, server.url, 6, prompt={"user": "Describe this. " * 200})
    guessed, counted = await estimated(job), await estimated(job, online=True)
    assert answers(server.options.log) == []

    def width(estimate: Estimate) -> float:
        return (estimate.modes["messages"].cost_usd_high or 0) - (estimate.modes["messages"].cost_usd_low or 0)

    assert width(counted) < width(guessed)
    assert any(remark.startswith("calibrated: ") for remark in counted.remarks)


@pytest.mark.parametrize("answer", [reply(b"{}", "404 Not Found"), reply(b'{"input_tokens": "many"}'), reply(b"[")])
async def test_a_server_that_cannot_count_leaves_the_guess(tmp_path: Path, answer: bytes) -> None:
    """Ollama and others have no such path: the estimate stands, and says so."""
    with Web({"/v1/messages/count_tokens": answer}) as web:
        job = mixed(tmp_path, web.url, 2)
        guessed, counted = await estimated(job), await estimated(job, online=True)
    assert counted.modes == guessed.modes
    assert any(remark.startswith("not calibrated: count_tokens") for remark in counted.remarks)


async def test_urls_are_not_fetched_and_counted_at_the_most(tmp_path: Path) -> None:
    """Their sizes are not known: the low bound takes them for small ones."""
    with Web({"/a.jpg": reply(b"x")}) as web:
        job = make_job(tmp_path, "http://127.0.0.1:9", images=0)
        job.add_rows(["one", f"{web.url}/a.jpg", "x"], ["two", f"{web.url}/b.jpg", "x"])
        found = await estimated(job)
        assert web.connections == 0
    assert found.image_tokens == 2 * 1568
    assert any(remark.startswith("2 images behind URLs") for remark in found.remarks)
    mode = found.modes["messages"]
    assert (mode.cost_usd or 0) - (mode.cost_usd_low or 0) > 2 * (1568 - 64) * 1e-6


async def test_items_that_would_fail_cost_nothing(tmp_path: Path) -> None:
    """They are named, and counted as items and images all the same."""
    job = make_job(tmp_path, "http://127.0.0.1:9", images=2)
    sound = await estimated(job)
    job.add_rows(["gone", "gone.jpg", "Gone"])
    found = await estimated(job)
    assert (found.items, found.images) == (3, 3)
    assert found.modes == sound.modes
    assert any("1 of 3 items would fail" in remark and "image_missing" in remark for remark in found.remarks)


async def test_an_unknown_price_is_no_price(tmp_path: Path) -> None:
    """Tokens are estimated, dollars are null, and never 0."""
    job = make_job(tmp_path, "http://127.0.0.1:9", images=1)
    found = await estimated(job, "api.model=qwen-vl")
    for mode in found.as_dict()["modes"].values():
        assert mode["input_tokens"] > 0
        assert mode["cost_usd"] is mode["cost_usd_low"] is mode["cost_usd_high"] is None


async def test_the_object_has_the_contract_s_names(tmp_path: Path) -> None:
    """What scripts read with `--json`."""
    found = (await estimated(make_job(tmp_path, "http://127.0.0.1:9", images=1))).as_dict()
    assert {"items", "images", "modes", "seed_image_tokens"} <= found.keys()
    assert set(found["modes"]) == {"messages", "batches"}
    names = {"input_tokens", "output_tokens", "cost_usd", "cost_usd_low", "cost_usd_high"}
    assert all(mode.keys() == names for mode in found["modes"].values())


async def test_the_embedded_endpoint_counts_too(tmp_path: Path) -> None:
    """The demo can be calibrated without an account."""
    job = make_job(tmp_path, "embedded", images=1)
    found = await estimated(job, online=True)
    assert any(remark.startswith("calibrated: ") for remark in found.remarks)
