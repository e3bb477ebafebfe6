"""Isolation: a decoder that dies, hangs or wants all memory costs its picture alone."""

import os
import pickle
import signal
import struct
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import anyio
import pytest
from anyio.abc import Process
from support.image_files import png_claiming
from support.pictures import encoded, quadrants, smooth

from pipeline.errors import ErrorType, ImageError
from pipeline.images.isolation import IsolatedDecoders, wants_isolation
from pipeline.images.prepare import PrepareSettings, prepare

pytestmark = pytest.mark.anyio

USUAL = PrepareSettings()
APART = {
    "TIFF": encoded(quadrants(320, 240), "TIFF"),
    "AVIF": encoded(smooth(320, 240), "AVIF"),
    "JPEG2000": encoded(smooth(320, 240), "JPEG2000"),
}


def _children() -> set[int]:
    """Process ids of this process's children."""
    return {int(pid) for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text("ascii").split()}


def _environment(pid: int) -> bytes:
    """What a process was started with."""
    return Path(f"/proc/{pid}/environ").read_bytes()


@pytest.mark.parametrize("name", APART)
async def test_what_is_prepared_apart_is_what_is_prepared_here(name: str) -> None:
    """The other process gives the same bytes and the same row."""
    assert wants_isolation(APART[name])
    async with IsolatedDecoders() as decoders:
        assert await decoders.prepare("photos/a", APART[name], USUAL) == prepare("photos/a", APART[name], USUAL)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_the_usual_formats_stay_here(name: str) -> None:
    """What is decoded within bounds needs no process."""
    assert not wants_isolation(encoded(smooth(64, 48), name))


async def test_errors_come_back_as_they_were_raised() -> None:
    """A corrupt picture fails with the same type and message as here, and the process goes on."""
    cut = APART["TIFF"][:-5000]
    with pytest.raises(ImageError) as here:
        prepare("row 7", cut, USUAL)
    async with IsolatedDecoders() as decoders:
        before = _children()
        with pytest.raises(ImageError) as apart:
            await decoders.prepare("row 7", cut, USUAL)
        first = _children() - before
        await decoders.prepare("row 8", APART["TIFF"], USUAL)
        assert _children() - before == first
    assert (apart.value.error_type, str(apart.value)) == (here.value.error_type, str(here.value))


async def test_a_decoder_that_dies_costs_its_picture_alone() -> None:
    """Killed in the middle of its work, the process fails that picture; the next one has a new process."""
    async with IsolatedDecoders() as decoders:
        worker = (await _stopped(decoders)).pid
        failures: list[ImageError] = []

        async def ask() -> None:
            with pytest.raises(ImageError) as caught:
                await decoders.prepare("row 3", APART["TIFF"], USUAL)
            failures.append(caught.value)

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            os.kill(worker, signal.SIGKILL)
        assert failures[0].error_type == ErrorType.IMAGE_CORRUPT
        assert "row 3" in str(failures[0])
        await decoders.prepare("x", APART["TIFF"], USUAL)


async def test_a_decoder_that_hangs_is_ended() -> None:
    """Past its time the process is killed and the picture fails."""
    async with IsolatedDecoders(deadline_s=0.5) as decoders:
        process = await _stopped(decoders)
        with pytest.raises(ImageError, match="not decoded within") as caught:
            await decoders.prepare("row 3", APART["TIFF"], USUAL)
        assert caught.value.error_type == ErrorType.IMAGE_CORRUPT
        assert process.returncode is not None


async def test_the_process_gets_no_key_and_ends_with_the_run() -> None:
    """Its environment holds none of the user's, and none is left when the run is over."""
    before = _children()
    async with IsolatedDecoders({**os.environ, "ANTHROPIC_API_KEY": "canary-key"}) as decoders:
        await decoders.prepare("x", APART["TIFF"], USUAL)
        (worker,) = _children() - before
        assert b"canary-key" not in _environment(worker)
    assert not _children() - before


async def test_a_cancelled_wait_leaves_no_process() -> None:
    """Whoever is cancelled while a picture is decoded takes its process along."""
    async with IsolatedDecoders() as decoders:
        process = await _stopped(decoders)
        async with anyio.create_task_group() as group:
            group.start_soon(decoders.prepare, "x", APART["TIFF"], USUAL)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        assert process.returncode is not None


async def _stopped(decoders: IsolatedDecoders) -> Process:
    """A process that will be asked next, and does not go on."""
    process = await decoders._start()
    os.kill(process.pid, signal.SIGSTOP)
    decoders._idle.append(process)
    return process


def test_memory_is_limited_by_the_system() -> None:
    """A decode that needs more than is given ends as too large, by the system's own refusal, and the process lives."""
    program = (
        "import sys\n"
        "from pipeline.images import isolation\n"
        "from PIL import Image\n"
        "isolation._limit_memory(-100_000_000)\n"
        "try:\n    Image.new('RGB', (12_000, 12_000), 'red')\n"
        "except MemoryError:\n    print('refused')\n"
    )
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert found.stdout == "refused\n"


def test_the_other_end_answers_in_order_until_its_input_ends() -> None:
    """Questions are answered one by one, failures among them, and a torn question ends it quietly."""
    questions = [("a", APART["TIFF"], USUAL), ("b", png_claiming(30_000, 30_000), USUAL)]
    packed = [pickle.dumps(question) for question in questions]
    asked = b"".join(struct.pack(">Q", len(each)) + each for each in packed) + b"\0\0"
    program = [sys.executable, "-m", "pipeline.images.isolation"]
    told = BytesIO(subprocess.run(program, input=asked, check=True, capture_output=True).stdout)
    answers = []
    while head := told.read(8):
        answers.append(pickle.loads(told.read(struct.unpack(">Q", head)[0])))
    assert answers[0] == prepare("a", APART["TIFF"], USUAL)
    assert answers[1][0] == ErrorType.IMAGE_TOO_LARGE
