"""Shrinking: both ways give the picture, to a few grey levels, whatever its shape."""

import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops
from support.image_files import quadrant_colours
from support.pictures import QUADRANTS, quadrants, smooth

from pipeline.images.resizing import FAST, fast_shrink, plain_shrink, shrunk

MODES = ("RGB", "L", "CMYK")


def _off(one: Image.Image, other: Image.Image) -> int:
    return max(int(band.getextrema()[1]) for band in ImageChops.difference(one, other).split())


def _noise(mode: str, width: int, height: int) -> Image.Image:
    """The same for each shape; of middling greys, since what is cut off between two passes depends on their order."""
    draw = random.Random(width * 1000 + height)
    bands = [Image.frombytes("L", (width, height), draw.randbytes(width * height)) for _ in mode]
    middling = [band.point(lambda value: 80 + value // 3) for band in bands]
    return Image.merge(mode, middling) if mode != "L" else middling[0]


def test_the_fast_way_is_at_work_here() -> None:
    """With the dependencies of this project installed, SIMD is used."""
    assert FAST


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(MODES), st.integers(1, 700), st.integers(1, 300), st.data())
def test_both_ways_agree_on_every_shape(mode: str, width: int, height: int, data: st.DataObject) -> None:
    """From noise of any shape down to single pixels, no value differs by more than rounding does."""
    size = data.draw(st.integers(1, width)), data.draw(st.integers(1, height))
    picture = _noise(mode, width, height)
    fast = fast_shrink()
    assert fast is not None
    found, plain = fast(picture, size), picture.resize(size, Image.Resampling.LANCZOS)
    assert (found.size, found.mode) == (size, mode)
    assert _off(found, plain) <= 4


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(6000, 4000), (8000, 1), (1, 8000), (5000, 27)])
def test_large_and_narrow_pictures_keep_their_colours(mode: str, size: tuple[int, int]) -> None:
    """Pictures whose rows do not lie in one block of memory, and strips one pixel wide, arrive as they are."""
    picture = Image.linear_gradient("L").resize(size).convert(mode)
    target = max(1, size[0] // 5), max(1, size[1] // 5)
    assert _off(shrunk(picture, target), picture.resize(target, Image.Resampling.LANCZOS)) <= 4


@pytest.mark.parametrize("shrink", [shrunk, plain_shrink])
def test_quadrants_stay_where_they_are(shrink: object) -> None:
    """Nothing is turned, mirrored or moved."""
    assert callable(shrink)
    found = quadrant_colours(shrink(quadrants(901, 603), (211, 140)))
    for seen, right in zip(found, QUADRANTS, strict=True):
        assert max(abs(a - b) for a, b in zip(seen, right, strict=True)) <= 2


def test_the_size_it_has_costs_nothing() -> None:
    """A picture of the right size is handed back itself."""
    picture = smooth(30, 20)
    assert shrunk(picture, (30, 20)) is picture


@pytest.mark.parametrize(("mode", "size"), [("RGB", (90, 10)), ("RGB", (90, 90)), ("LA", (10, 10)), ("F", (10, 10))])
def test_what_the_fast_way_is_not_for_is_left_to_pillow(mode: str, size: tuple[int, int]) -> None:
    """Enlarging, and other modes, give exactly what Pillow gives."""
    picture = smooth(40, 40).convert("L").convert(mode)
    assert shrunk(picture, size).tobytes() == plain_shrink(picture, size).tobytes()


def test_many_threads_shrink_at_once() -> None:
    """The same pictures shrunk in eight threads come out as they do one by one."""
    work = [(smooth(300 + 40 * index, 500, index), (90 + index, 100)) for index in range(24)]
    alone = [shrunk(*each).tobytes() for each in work]
    with ThreadPoolExecutor(8) as threads:
        assert [found.tobytes() for found in threads.map(lambda each: shrunk(*each), work)] == alone


@pytest.mark.parametrize(
    "missing",
    [
        "sys.modules['cykooz_resizer'] = None",
        "import PIL.Image; PIL.__version__ = '99.0.0'",
        "import types; sys.modules['cykooz_resizer'] = types.ModuleType('cykooz_resizer')",
    ],
    ids=["not installed", "a Pillow it was not tried with", "another library"],
)
def test_where_it_cannot_be_used_pillow_does_the_work(missing: str) -> None:
    """Without the library, or beside a Pillow that it was not tried with, pictures are shrunk all the same."""
    program = (
        f"import sys\n{missing}\n"
        "from PIL import Image\n"
        "from pipeline.images.resizing import FAST, shrunk\n"
        "print(FAST, shrunk(Image.new('RGB', (90, 60), 'red'), (9, 6)).getpixel((4, 4)))\n"
    )
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert found.stdout == "False (255, 0, 0)\n"


def test_a_library_that_gives_wrong_pixels_is_not_used() -> None:
    """One that leaves the picture black, as a misread layout might, is found out at the start."""
    program = (
        "import sys, types\n"
        "fake = types.ModuleType('cykooz_resizer')\n"
        "class Resizer:\n"
        "    def resize_pil(self, source, target, options): pass\n"
        "fake.Resizer, fake.ResizeOptions = Resizer, lambda **_: None\n"
        "fake.ResizeAlg = types.SimpleNamespace(convolution=lambda kind: kind)\n"
        "fake.FilterType = types.SimpleNamespace(lanczos3=3)\n"
        "sys.modules['cykooz_resizer'] = fake\n"
        "from pipeline.images.resizing import FAST\n"
        "print(FAST)\n"
    )
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert found.stdout == "False\n"
