"""`prompt.examples`: few-shot messages before every conversation, and what they take of a request."""

from pathlib import Path
from typing import Any

import pytest
from support.configs import config_with
from support.jobs import make_job
from support.pictures import encoded, smooth
from support.running import KEY, plan_of, run
from support.standins import billed

from pipeline.engines.plan import plan_run
from pipeline.errors import ConfigError
from pipeline.images.geometry import image_tokens
from pipeline.records import Message, PreparedImage
from pipeline.store.read import read_results

pytestmark = pytest.mark.anyio


@pytest.fixture
def shown(tmp_path: Path) -> tuple[Path, Path]:
    """Two pictures for examples, outside the manifest's root."""
    folder = tmp_path / "shown"
    folder.mkdir()
    for name, size in (("a.jpg", (300, 200)), ("b.jpg", (2600, 1000))):
        (folder / name).write_bytes(encoded(smooth(*size, seed=len(name)), quality=85))
    return folder / "a.jpg", folder / "b.jpg"


def setting(*images: Path | str) -> str:
    """`--set` with an example for each image."""
    tables = [f"{{image='{path}', user='What is it?', assistant='Example {n}. '}}" for n, path in enumerate(images)]
    return f"prompt.examples=[{', '.join(tables)}]"


async def test_examples_stand_before_the_question_and_are_paid_for_as_images(
    tmp_path: Path, start_standin: Any, shown: tuple[Path, Path]
) -> None:
    """User and assistant in turn, then the item; their tokens are in the server's bill of every item."""
    server = start_standin()
    job = make_job(tmp_path / "job", server.url, images=2)
    plain = await run(job)
    taught = await run(job, setting(*shown), f"output.path={tmp_path / 'taught'}")
    messages = plan_of(job, setting(*shown)).examples
    assert [message.role for message in messages] == ["user", "assistant"] * 2
    assert messages[1] == Message("assistant", ("Example 0.",))
    images = [part for message in messages for part in message.parts if isinstance(part, PreparedImage)]
    tokens = sum(image_tokens(image.record.sent_width or 0, image.record.sent_height or 0) for image in images)
    more = taught.usage["input_tokens"] - plain.usage["input_tokens"]
    texts = len("What is it?Example 0.") * 2 / 4
    assert more == pytest.approx(2 * (tokens + texts), abs=4)
    assert len(billed(server.options.log)) == 4
    assert max(images[1].record.sent_width or 0, images[1].record.sent_height or 0) <= 1568


async def test_examples_count_among_the_images_that_a_model_takes(
    tmp_path: Path, start_standin: Any, shown: tuple[Path, Path]
) -> None:
    """An item that fits by itself and not beside them fails before anything is sent for it."""
    server = start_standin()
    job = make_job(tmp_path / "job", server.url, images=1)
    limit = 'models."claude-haiku-4-5".max_images=2'
    assert (await run(job, limit, setting(shown[0]))).exit_code == 0
    summary = await run(job, limit, setting(*shown), f"output.path={tmp_path / 'two'}")
    assert summary.failures_by_type == {"invalid_request_error": 1}
    [row] = read_results(tmp_path / "two", failures=True).to_pylist()
    assert "beside 2 of examples" in row["error_message"]


async def test_many_images_with_the_examples_are_made_small_enough(tmp_path: Path, start_standin: Any) -> None:
    """More than 20 in a request, examples included, may have no side over 2000 px: the service takes the request."""
    server = start_standin()
    wide = tmp_path / "wide.jpg"
    wide.write_bytes(encoded(smooth(2560, 300), quality=80))
    job = make_job(tmp_path / "job", server.url, images=0, settings={"api": {"model": "claude-opus-4-8"}})
    job.add_rows(["many", "|".join(["../wide.jpg"] * 20), "Many"])
    more = ["images.max_edge=model", "images.max_tokens=model", f"manifest.allow_roots=['{tmp_path}']"]
    summary = await run(job, *more, setting(wide))
    assert (summary.exit_code, summary.requests["sent"]) == (0, 1)


def test_the_fingerprint_takes_the_picture_and_not_its_path(tmp_path: Path, shown: tuple[Path, Path]) -> None:
    """A moved example changes nothing; another picture at the same place changes the prompt."""

    def mark(path: Path) -> str:
        return plan_run(config_with(tmp_path, setting(path)), KEY).fingerprint

    moved = shown[0].with_name("moved.jpg")
    moved.write_bytes(shown[0].read_bytes())
    before = mark(shown[0])
    assert mark(moved) == before
    moved.write_bytes(shown[1].read_bytes())
    assert len({before, mark(moved), plan_run(config_with(tmp_path), KEY).fingerprint}) == 3


def test_paths_start_at_the_working_directory(
    tmp_path: Path, shown: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As every path in a configuration does; they may lead anywhere, since the user wrote them."""
    monkeypatch.chdir(shown[0].parent)
    plan = plan_run(config_with(tmp_path, setting("a.jpg", "../shown/b.jpg")), KEY)
    assert len(plan.examples) == 4


@pytest.mark.parametrize(
    ("example", "said"),
    [
        ("gone.jpg", "prompt.examples.0.image: gone.jpg: no such file"),
        ("https://example.org/a.jpg", "prompt.examples.0.image: examples are read from files"),
        ("job.toml", "prompt.examples.0.image: job.toml: not an image"),
    ],
)
def test_an_example_that_cannot_be_shown_is_named_before_anything_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, example: str, said: str
) -> None:
    """Missing, behind a URL, or no picture."""
    monkeypatch.chdir(tmp_path)
    config = config_with(tmp_path, setting(example))
    with pytest.raises(ConfigError) as refused:
        plan_run(config, KEY)
    assert str(refused.value).startswith(said)


def test_blank_texts_are_refused(tmp_path: Path, shown: tuple[Path, Path]) -> None:
    """The service takes no empty text block."""
    config = config_with(tmp_path, f"prompt.examples=[{{image='{shown[0]}', user=' ', assistant='x'}}]")
    with pytest.raises(ConfigError, match=r"prompt\.examples\.0: user and assistant"):
        plan_run(config, KEY)
