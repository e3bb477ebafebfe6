"""The network, against the same one written out plainly."""

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pipeline.standin.vision_archive import ArchiveError, Weights
from pipeline.standin.vision_network import CLASSES, EDGE, Network

Array = NDArray[np.float32]
BLOCKS = [
    # kernel, stride, expansion, channels in, channels out
    *[(3, 1, 1, 32, 16), (3, 2, 6, 16, 24), (3, 1, 6, 24, 24), (5, 2, 6, 24, 40), (5, 1, 6, 40, 40)],
    *[(3, 2, 6, 40, 80), (3, 1, 6, 80, 80), (3, 1, 6, 80, 80)],
    *[(5, 1, 6, 80, 112), (5, 1, 6, 112, 112), (5, 1, 6, 112, 112)],
    *[(5, 2, 6, 112, 192), (5, 1, 6, 192, 192), (5, 1, 6, 192, 192), (5, 1, 6, 192, 192), (3, 1, 6, 192, 320)],
]


def some_weights() -> Weights:
    """Weights of the right shapes, drawn so that values neither vanish nor run into the clips."""
    chance, weights = np.random.default_rng(5), Weights()

    def layer(name: str, norm: str, shape: tuple[int, ...]) -> None:
        weights[f"{name}.weight"] = chance.normal(0, np.prod(shape[1:]) ** -0.5, shape).astype(np.float32)
        for part, low, high in (("weight", 0.8, 1.4), ("bias", 0, 1), ("running_mean", -0.3, 0.3)):
            weights[f"{norm}.{part}"] = chance.uniform(low, high, shape[0]).astype(np.float32)
        weights[f"{norm}.running_var"] = chance.uniform(0.5, 1.5, shape[0]).astype(np.float32)

    layer("_conv_stem", "_bn0", (32, 3, 3, 3))
    for at, (kernel, _, expansion, taken, given) in enumerate(BLOCKS):
        inner = taken * expansion
        if expansion > 1:
            layer(f"_blocks.{at}._expand_conv", f"_blocks.{at}._bn0", (inner, taken, 1, 1))
        layer(f"_blocks.{at}._depthwise_conv", f"_blocks.{at}._bn1", (inner, 1, kernel, kernel))
        layer(f"_blocks.{at}._project_conv", f"_blocks.{at}._bn2", (given, inner, 1, 1))
    layer("_conv_head", "_bn1", (1280, 320, 1, 1))
    weights["_fc.weight"] = chance.normal(0, 0.2, (CLASSES, 1280)).astype(np.float32)
    weights["_fc.bias"] = chance.normal(0, 1, CLASSES).astype(np.float32)
    return weights


WEIGHTS = some_weights()


def convolved(picture: Array, name: str, norm: str, stride: int = 1, *, clips: bool = True) -> Array:
    """A convolution of `(channels, height, width)` by the book, then its normalisation, then ReLU6."""
    weight = WEIGHTS[f"{name}.weight"]
    kernel, grouped = weight.shape[2], weight.shape[1] == 1 and picture.shape[0] > 1
    total = max((-(-picture.shape[1] // stride) - 1) * stride + kernel - picture.shape[1], 0)
    around = (total // 2, total - total // 2)
    windows = sliding_window_view(np.pad(picture, ((0, 0), around, around)), (kernel, kernel), axis=(1, 2))
    windows = windows[:, ::stride, ::stride]
    if grouped:
        found = np.einsum("chwij,cij->chw", windows, weight[:, 0])
    else:
        found = np.einsum("chwij,ocij->ohw", windows, weight, optimize=True)
    mean, variance = WEIGHTS[f"{norm}.running_mean"], WEIGHTS[f"{norm}.running_var"]
    found = (found - mean[:, None, None]) / np.sqrt(variance + 1e-3)[:, None, None]
    found = found * WEIGHTS[f"{norm}.weight"][:, None, None] + WEIGHTS[f"{norm}.bias"][:, None, None]
    return np.minimum(np.maximum(found, 0), 6) if clips else found


def by_the_book(picture: Array) -> Array:
    """The whole network, slowly."""
    passed = convolved(picture.transpose(2, 0, 1), "_conv_stem", "_bn0", 2)
    for at, (_, stride, expansion, taken, given) in enumerate(BLOCKS):
        name = f"_blocks.{at}"
        inner = convolved(passed, f"{name}._expand_conv", f"{name}._bn0") if expansion > 1 else passed
        inner = convolved(inner, f"{name}._depthwise_conv", f"{name}._bn1", stride)
        projected = convolved(inner, f"{name}._project_conv", f"{name}._bn2", clips=False)
        passed = projected + passed if stride == 1 and taken == given else projected
    pooled = convolved(passed, "_conv_head", "_bn1").mean(axis=(1, 2))
    powers = np.exp(WEIGHTS["_fc.weight"] @ pooled + WEIGHTS["_fc.bias"])
    return powers / powers.sum()


def test_the_network_computes_what_it_says() -> None:
    """Folded, blocked and transposed, it gives the probabilities of the plain one."""
    picture = np.random.default_rng(6).uniform(-1, 1, (EDGE, EDGE, 3)).astype(np.float32)
    found = Network(WEIGHTS).probabilities(picture)
    expected = by_the_book(picture)
    assert found.sum() == pytest.approx(1, abs=1e-5)
    assert np.argmax(found) == np.argmax(expected)
    assert expected.max() > 2 / CLASSES, "a flat result could not tell right from wrong"
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("name", ["_conv_stem.weight", "_blocks.3._bn1.running_var", "_blocks.15._project_conv.weight"])
def test_weights_of_another_network_are_refused(name: str) -> None:
    """A missing weight and one of another shape are named."""
    rest = {key: value for key, value in WEIGHTS.items() if key != name}
    with pytest.raises(ArchiveError, match=f"{name}: found None"):
        Network(rest)
    with pytest.raises(ArchiveError, match=rf"{name}: found \(7,\)"):
        Network({**rest, name: np.zeros(7, np.float32)})
