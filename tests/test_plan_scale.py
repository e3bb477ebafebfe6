"""The paper plan's arithmetic: what binds, and hours, dollars and cores that follow from it."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.plan_scale import SIZES, TIERS, Figures, batches, messages, tables
from pipeline.api.catalogue import Catalogue, cost_usd

START, BUILD, SCALE = TIERS
ROUND = Figures(image_tokens=900, text_tokens=100, output_tokens=100, cpu_s=0.1, used=1.0, load=0.5, sent_bytes=150_000)


def test_requests_bind_small_images_and_input_tokens_bind_large_ones() -> None:
    """The smallest of the three limits, divided by what an image takes of it."""
    assert messages(1_000_000, START, "claude-haiku-4-5", ROUND).binding == "requests"
    large = Figures(image_tokens=4_784, text_tokens=216, output_tokens=100, used=1.0)
    plan = messages(1_000_000, START, "claude-haiku-4-5", large)
    assert plan.binding == "input tokens"
    assert plan.per_minute == pytest.approx(2_000_000 / 5_000)
    wordy = Figures(image_tokens=900, text_tokens=100, output_tokens=1_000, used=1.0)
    assert messages(1_000_000, START, "claude-haiku-4-5", wordy).binding == "output tokens"


def test_hours_cores_and_dollars_follow_from_the_rate() -> None:
    """A thousand a minute: 1,000 minutes a million; a tenth of a core-second each, at half load."""
    plan = messages(1_000_000, START, "claude-haiku-4-5", ROUND)
    assert plan.per_minute == 1_000
    assert plan.hours == pytest.approx(1_000 / 60)
    assert plan.cores == 4
    assert plan.in_flight == 50
    assert plan.mbit_s == pytest.approx(1_000 / 60 * 200_000 * 8 / 1e6)
    assert plan.api_usd == pytest.approx(1_000_000 * (1_000 * 1 + 100 * 5) / 1e6)
    assert plan.months == pytest.approx(plan.api_usd / 500)
    assert plan.cores_usd == pytest.approx(4 * plan.hours * ROUND.core_usd)


@pytest.mark.parametrize("tier", TIERS, ids=lambda tier: tier.name)
@pytest.mark.parametrize("images", SIZES)
def test_batches_cost_half_and_are_bound_by_their_queue(tier: object, images: int) -> None:
    """The queue is refilled once in the time that a batch takes."""
    figures = Figures()
    plan = batches(images, tier, "claude-haiku-4-5", figures)  # type: ignore[arg-type]
    other = messages(images, tier, "claude-haiku-4-5", figures)  # type: ignore[arg-type]
    assert plan.api_usd == pytest.approx(other.api_usd / 2)
    assert plan.binding == "queue"
    assert plan.per_minute == pytest.approx(tier.batch_queue / 60)  # type: ignore[attr-defined]


def test_prices_are_those_of_the_catalogue() -> None:
    """A changed price changes the plan."""
    figures = Figures()
    each = cost_usd(Catalogue().model("claude-sonnet-5-5"), figures.usage)
    assert each is not None
    assert messages(SIZES[0], SCALE, "claude-sonnet-5-5", figures).api_usd == pytest.approx(SIZES[0] * each)


def test_the_documents_tables_are_what_the_script_prints() -> None:
    """docs/scale.md cannot drift from the figures."""
    text = (Path(__file__).parent.parent / "docs" / "scale.md").read_text("utf-8")
    for line in tables("claude-haiku-4-5", Figures()):
        assert line in text
    command = [sys.executable, "-m", "benchmarks.plan_scale", "--models", "claude-haiku-4-5"]
    printed = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=True)
    dataset = printed.stdout.rpartition("The dataset, in 32 shards:")[2]
    assert dataset.strip() in text
