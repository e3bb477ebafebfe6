"""Memory: estimates that hold, and a room that never gives out more than it has."""

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from support.image_files import png_claiming, tiny_webp
from support.pictures import encoded, smooth

from pipeline.images.memory import LEAST_ROOM_BYTES, DecodeRoom, decode_bytes, most_bytes

TARGET = 1568 * 784


def test_a_jpeg_in_one_scan_needs_little_whatever_its_size() -> None:
    """What is decoded scaled is counted scaled; a progressive one of the same size keeps far more."""
    plain = decode_bytes(encoded(smooth(4000, 3000)), TARGET)
    progressive = decode_bytes(encoded(smooth(4000, 3000), progressive=True), TARGET)
    assert plain is not None
    assert progressive is not None
    assert plain < 45_000_000 < progressive < 90_000_000


def test_bombs_need_what_they_claim() -> None:
    """900 megapixels in a PNG and 143 in a WebP need gigabytes, and the largest plain PNG that is read fits."""
    assert (decode_bytes(png_claiming(30_000, 30_000, colour_type=2), TARGET) or 0) > 3_600_000_000
    assert (decode_bytes(tiny_webp(13_000, 11_000), TARGET) or 0) > 2_000_000_000
    assert (decode_bytes(png_claiming(13_377, 13_377, colour_type=2), TARGET) or 0) < most_bytes(178_956_970)


def test_what_is_not_known_is_said_to_be() -> None:
    """Bytes without a shape have no estimate."""
    assert decode_bytes(b"not an image", TARGET) is None


def test_the_bound_grows_with_the_setting_and_never_shrinks() -> None:
    """Lower `images.max_pixels` does not make small pictures of dear formats fail; higher allows larger ones."""
    assert most_bytes(1) == most_bytes(178_956_970) == LEAST_ROOM_BYTES
    assert most_bytes(400_000_000) == 2_000_000_000


def test_the_room_never_gives_more_than_it_has_and_keeps_the_order() -> None:
    """Whatever is asked, in whatever order it ends: never over the limit, first come first served, all are served."""

    @settings(deadline=None, max_examples=60)
    @given(st.lists(st.tuples(st.integers(0, 150) | st.none(), st.integers(0, 4)), min_size=1, max_size=20))
    def check(works: list[tuple[int | None, int]]) -> None:
        anyio.run(_room_holds, works)

    check()


async def _room_holds(works: list[tuple[int | None, int]]) -> None:
    room = DecodeRoom(100)
    inside: dict[int, int] = {}
    order: list[int] = []

    async def work(index: int, need: int | None, steps: int) -> None:
        async with room.take(need):
            order.append(index)
            inside[index] = 100 if need is None else min(need, 100)
            assert room.taken_bytes <= 100
            assert sum(inside.values()) <= room.taken_bytes
            for _ in range(steps):
                await checkpoint()
            del inside[index]

    async with anyio.create_task_group() as group:
        for index, (need, steps) in enumerate(works):
            group.start_soon(work, index, need, steps)
            await checkpoint()
    assert order == sorted(order)
    assert room.taken_bytes == 0


@pytest.mark.anyio
async def test_one_who_gives_up_waiting_makes_way() -> None:
    """A cancelled wait takes nothing, and those behind it are let in at once."""
    room = DecodeRoom(100)
    reached = anyio.Event()

    async def behind() -> None:
        async with room.take(30):
            reached.set()

    async with room.take(60), anyio.create_task_group() as group:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as waiting:
                waiting.start_soon(_hold, room, 90)
                await anyio.wait_all_tasks_blocked()
                group.start_soon(behind)
                await anyio.wait_all_tasks_blocked()
                assert not reached.is_set()
                scope.cancel()
        await reached.wait()
        assert room.taken_bytes <= 90
    assert room.taken_bytes == 0


async def _hold(room: DecodeRoom, need: int) -> None:
    async with room.take(need):
        await anyio.sleep_forever()


@pytest.mark.anyio
async def test_an_error_inside_gives_back_what_was_taken() -> None:
    """The room is whole again after a failure within."""
    room = DecodeRoom(100)
    with pytest.raises(RuntimeError):
        async with room.take(70):
            raise RuntimeError
    assert room.taken_bytes == 0
