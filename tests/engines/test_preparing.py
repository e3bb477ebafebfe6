"""The stage before the network: what is read, shrunk and rendered for one item."""

import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from PIL import Image
from support.pictures import encoded, quadrants, smooth

from pipeline.engines.preparing import Preparer, ReadyItem, Room, known_images
from pipeline.errors import ImageError, ItemError, PromptError, RowError
from pipeline.images.decoders import Decoders
from pipeline.images.geometry import Bounds
from pipeline.images.prepare import PrepareSettings
from pipeline.images.sources import ImageSource, SourceSettings
from pipeline.prompts.templates import Templates
from pipeline.records import ImageRef, Item
from pipeline.settings import SettingsPrompt

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def preparer(
    root: Path, settings: PrepareSettings | None = None, *, most_images: int = 100, workers: int = 2, **prompt: Any
) -> AsyncIterator[Preparer]:
    """A preparer that reads below a folder."""
    keys = SettingsPrompt(**{"user": "Describe {{ title }}.", **prompt})
    texts = [keys.user] if isinstance(keys.user, str) else keys.user
    async with ImageSource(SourceSettings(root)) as source, Decoders(workers, 1 << 30) as decoders:
        yield Preparer(source, settings or PrepareSettings(), Templates(texts), keys, Room(most_images), decoders)


def item(names: Sequence[str] = (), columns: Sequence[str] = (), **more: Any) -> Item:
    """An item with these images, each in the column of the same place."""
    refs = [
        ImageRef(name, column=column) for name, column in zip(names, columns or ["image"] * len(names), strict=True)
    ]
    return Item("a", tuple(refs), {"title": "this"}, place="m.csv:2", **more)


def inline(*pictures: bytes) -> Item:
    """An item with its images in the manifest."""
    return Item("a", tuple(ImageRef(f"p{number}", raw) for number, raw in enumerate(pictures)), {"title": "this"})


def sizes(ready: ReadyItem) -> list[tuple[int, int]]:
    """Of what is sent, as decoded."""
    return [Image.open(BytesIO(image.body)).size for image in ready.images]


async def test_images_and_prompt_are_made_ready_in_order(tmp_path: Path) -> None:
    """The item keeps its key; records name the sources."""
    for name, width in (("b.jpg", 320), ("a.jpg", 240)):
        (tmp_path / name).write_bytes(encoded(smooth(width, 240)))
    async with preparer(tmp_path) as stage:
        ready = await stage.prepare(b"key", item(["b.jpg", "a.jpg"]))
    assert ready.key == b"key"
    assert sizes(ready) == [(320, 240), (240, 240)]
    assert [record.source for record in ready.records] == ["b.jpg", "a.jpg"]
    assert ready.plan.texts == ("Describe this.",)
    assert ready.plan.images == (ready.images,)


async def test_turns_have_their_own_images_and_the_prefill_loses_its_last_space(tmp_path: Path) -> None:
    """`prompt.turn_images` says which column goes with which turn."""
    for name in ("front.jpg", "back.jpg"):
        (tmp_path / name).write_bytes(encoded(smooth(240, 240, len(name))))
    turns = {"user": ["One.", "Two."], "turn_images": ["back", ""], "prefill": "It shows \n", "label_images": False}
    async with preparer(tmp_path, **turns) as stage:
        ready = await stage.prepare(b"", item(["front.jpg", "back.jpg"], ["front", "back"]))
    assert [[image.record.source for image in images] for images in ready.plan.images] == [["back.jpg"], []]
    assert (ready.plan.prefill, ready.plan.label) == ("It shows", False)


@pytest.mark.parametrize(
    ("bad", "kind", "error_type"),
    [
        (item(problem=RowError("duplicate_id", "m.csv:2: twice")), RowError, "duplicate_id"),
        (item(["gone.jpg"]), ImageError, "image_missing"),
        (item(["/etc/hostname"]), ImageError, "image_refused"),
        (inline(b"no picture"), ImageError, "image_unsupported"),
        (inline(encoded(smooth(300, 300))[:800]), ImageError, "image_corrupt"),
        (Item("a", (), {}), PromptError, "prompt_error"),
    ],
)
async def test_what_is_wrong_with_an_item_is_an_error_of_that_item(
    tmp_path: Path, bad: Item, kind: type[ItemError], error_type: str
) -> None:
    """Row, image or prompt: the type says which."""
    async with preparer(tmp_path) as stage:
        with pytest.raises(kind) as raised:
            await stage.prepare(b"", bad)
    assert raised.value.error_type == error_type


async def test_more_images_than_the_model_takes_are_refused_before_any_is_read(tmp_path: Path) -> None:
    """Images that stand in several turns count as often as they are sent."""
    async with preparer(tmp_path, most_images=2) as stage:
        with pytest.raises(ImageError, match=r"m\.csv:2: 3 images; the model takes at most 2"):
            await stage.prepare(b"", item(["gone.jpg"] * 3))
    async with preparer(tmp_path, most_images=2, user=["One."] * 3, turn_images=["image"] * 3) as stage:
        with pytest.raises(ImageError, match="3 images"):
            await stage.prepare(b"", item(["gone.jpg"]))


async def test_many_images_are_shrunk_to_what_the_service_takes_together(tmp_path: Path) -> None:
    """Over twenty images may have no side over 2000 px; a few may."""
    large = PrepareSettings(bounds=Bounds(2576, 4784))
    wide, small = encoded(quadrants(2500, 300)), encoded(quadrants(30, 30))
    async with preparer(tmp_path, large) as stage:
        few = await stage.prepare(b"", inline(wide, small))
        many = await stage.prepare(b"", inline(wide, *[small] * 20))
    assert sizes(few)[0] == (2500, 300)
    assert max(sizes(many)[0]) <= 2000
    assert sizes(many)[1] == (30, 30)


async def test_images_share_the_room_of_one_request(tmp_path: Path) -> None:
    """Fourteen pictures of noise, each within the limit for one, would be too much together."""
    raw = encoded(Image.effect_noise((1092, 1092), 200).convert("RGB"), quality=100)
    async with preparer(tmp_path, PrepareSettings(quality=100)) as stage:
        alone = await stage.prepare(b"", inline(raw))
        together = await stage.prepare(b"", inline(*[raw] * 14))
    assert 14 * len(alone.images[0].body) * 4 / 3 > 30_000_000
    assert sum(len(image.body) * 4 / 3 for image in together.images) < 30_000_000


async def test_smaller_halves_the_sides_and_keeps_the_original_record(tmp_path: Path) -> None:
    """What was sent is told anew, what the image is stays; the prompt is the same."""
    (tmp_path / "a.jpg").write_bytes(encoded(smooth(800, 600)))
    async with preparer(tmp_path, PrepareSettings(thumbnail_edge=32)) as stage:
        ready = await stage.prepare(b"key", item(["a.jpg"]))
        less = await stage.smaller(ready)
    assert max(sizes(less)[0]) <= 400
    before, after = ready.records[0], less.records[0]
    assert (after.sha256, after.width, after.height, after.source) == (before.sha256, 800, 600, "a.jpg")
    assert (after.sent_width, after.sent_height) == sizes(less)[0]
    assert after.sent_sha256 != before.sent_sha256
    assert after.warnings == (*before.warnings, "shrunk_for_request")
    assert less.images[0].thumbnail == ready.images[0].thumbnail is not None
    assert (less.key, less.item, less.plan.texts) == (ready.key, ready.item, ready.plan.texts)
    assert less.plan.images == ((less.images[0],),)


async def test_an_image_of_one_patch_cannot_be_made_smaller(tmp_path: Path) -> None:
    """It stays as it is: no size of zero."""
    async with preparer(tmp_path) as stage:
        ready = await stage.prepare(b"", inline(encoded(quadrants(20, 10), "PNG")))
        assert sizes(await stage.smaller(ready)) == [(20, 10)]


async def test_no_more_images_are_decoded_at_once_than_there_are_workers(tmp_path: Path) -> None:
    """Memory is bounded by the workers, however many items are prepared; the event loop stays free."""
    busy = most = beats = 0
    lock = threading.Lock()

    class Slow(bytes):
        def __len__(self) -> int:
            nonlocal busy, most
            if threading.current_thread() is not threading.main_thread():
                with lock:
                    busy += 1
                    most = max(most, busy)
                barrier.wait(5)
                with lock:
                    busy -= 1
            return super().__len__()

    barrier = threading.Barrier(1)
    raw = encoded(smooth(1200, 1200))

    async def beat() -> None:
        nonlocal beats
        while True:
            await anyio.lowlevel.checkpoint()
            beats += 1

    async with preparer(tmp_path, workers=2) as stage, anyio.create_task_group() as tasks:
        tasks.start_soon(beat)
        async with anyio.create_task_group() as work:
            for _ in range(8):
                work.start_soon(stage.prepare, b"", inline(Slow(raw)))
        tasks.cancel_scope.cancel()
    assert 1 <= most <= 2
    assert beats > 8


def test_what_is_known_of_images_that_were_never_read_is_their_names() -> None:
    """Without the secrets of a signed URL, and without the bytes of a `data:` URI."""
    bad = item(["a.jpg", "https://me:pw@host/b.jpg?signature=abc", f"data:image/png;base64,{'A' * 500}"])
    names = [record.source for record in known_images(bad)]
    assert names[0] == "a.jpg"
    assert "signature" not in names[1]
    assert "pw" not in names[1]
    assert len(names[2]) < 64
