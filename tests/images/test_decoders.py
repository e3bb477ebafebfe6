"""Decoders: threads and processes behind one call, with memory that is bounded by all of them together."""

import json
import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from PIL import Image
from support.pictures import encoded, quadrants, smooth

from pipeline.errors import ErrorType, ImageError
from pipeline.images.decoders import Decoders
from pipeline.images.memory import LEAST_ROOM_BYTES
from pipeline.images.prepare import PrepareSettings, prepare
from pipeline.records import PreparedImage

pytestmark = pytest.mark.anyio

USUAL = PrepareSettings()


async def test_every_format_gives_what_preparation_gives() -> None:
    """Whichever way a picture goes, what comes back is the same; the failed ones fail by themselves."""
    files = {name: encoded(smooth(200, 150), name) for name in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "JPEG2000")}
    found: dict[str, PreparedImage] = {}
    failed: dict[str, str] = {}

    async def work(name: str, raw: bytes) -> None:
        try:
            found[name] = await decoders.prepare(name, raw, USUAL)
        except ImageError as error:
            failed[name] = error.error_type

    async with Decoders(3, LEAST_ROOM_BYTES) as decoders, anyio.create_task_group() as group:
        for name, raw in files.items():
            group.start_soon(work, name, raw)
            group.start_soon(work, f"cut {name}", raw[: len(raw) // 2])
        group.start_soon(work, "text", b"no image")
    assert found == {name: prepare(name, raw, USUAL) for name, raw in files.items()}
    assert failed == {f"cut {name}": ErrorType.IMAGE_CORRUPT for name in files} | {"text": ErrorType.IMAGE_UNSUPPORTED}


async def test_one_larger_than_the_room_is_let_in_alone() -> None:
    """A room that is smaller than any picture delays them, and stops none."""
    async with Decoders(4, 1) as decoders, anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(decoders.prepare, "x", encoded(quadrants(300, 200)), USUAL)


PEAK = """
import json, sys
from pathlib import Path
import anyio
from pipeline.errors import ImageError
from pipeline.images.decoders import Decoders
from pipeline.images.memory import most_bytes
from pipeline.images.prepare import PrepareSettings

settings = PrepareSettings()
files = [path.read_bytes() for path in sorted(Path(sys.argv[1]).iterdir())]
found = []

async def work(decoders, raw):
    try:
        found.append((await decoders.prepare("x", raw, settings)).record.sent_width)
    except ImageError as error:
        found.append(str(error.error_type))

async def main():
    async with Decoders(16, most_bytes(settings.max_pixels)) as decoders, anyio.create_task_group() as group:
        for raw in files * (16 // len(files)):
            group.start_soon(work, decoders, raw)

anyio.run(main)
peak = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1000
print(json.dumps([peak, found]))
"""


REST = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from pipeline.images.prepare import PrepareSettings, prepare

def resident_mb():
    return int(Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0]) / 1000

small, large = (Path(name).read_bytes() for name in sys.argv[1:])
with ThreadPoolExecutor(1) as pool:
    pool.submit(prepare, "x", small, PrepareSettings()).result()
    before = resident_mb()
    pool.submit(prepare, "x", large, PrepareSettings()).result()
    print(resident_mb() - before)
"""


def test_a_large_picture_leaves_no_memory_behind(tmp_path: Path) -> None:
    """After a picture of 200 MB was prepared in a thread, no more is kept than the two blocks that are meant to be."""
    (tmp_path / "small").write_bytes(encoded(smooth(300, 300)))
    (tmp_path / "large").write_bytes(encoded(Image.new("RGB", (8000, 6200), "navy"), "PNG", compress_level=1))
    command = [sys.executable, "-c", REST, str(tmp_path / "small"), str(tmp_path / "large")]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    assert float(run.stdout) < 150


def test_sixteen_large_pictures_at_once_stay_under_a_gigabyte(tmp_path: Path) -> None:
    """16 in work, each alone within the limits, together 1.7 GB if they were let in at once: the process holds one."""
    wide = smooth(3600, 2700)
    (tmp_path / "a").write_bytes(encoded(wide, "WEBP", method=0, quality=30))
    (tmp_path / "b").write_bytes(encoded(wide.convert("RGBA"), "PNG", compress_level=1))
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", PEAK, str(tmp_path)]
    run = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    peak_mb, found = json.loads(run.stdout)
    assert len(found) == 16
    assert all(isinstance(width, int) for width in found), found
    assert peak_mb < 1000
