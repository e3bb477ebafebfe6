"""EfficientNet-lite0 in numpy: 4.7 million weights, some 30 ms an image on one core.

The network is that of `efficientnet_lite` in tensorflow/tpu: sixteen inverted bottlenecks without squeezing, ReLU6
everywhere, "same" padding as TensorFlow has it (the odd pixel at the lower right). Arrays are (height, width,
channels), so that a 1x1 convolution is one matrix product; normalisations are folded into the weights before them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.standin.vision_archive import ArchiveError, Weights

__all__ = ["CLASSES", "EDGE", "Network"]

Array = NDArray[np.float32]

EDGE = 224
"""Width and height of its input, in px."""
CLASSES = 1000
_EPSILON = 1e-3
_STAGES = (
    # repeats, kernel, stride, expansion, channels out
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM, _HEAD = 32, 1280
_ROWS_BYTES = 200_000
"""As much of a layer as is worked on at a time: it stays in the core's own cache."""


@dataclass(frozen=True, slots=True)
class _Layer:
    """A convolution: weights `(k, k, channels)` where it is depthwise, else `(k * k * in, out)`, and a bias."""

    weight: Array
    bias: Array


@dataclass(frozen=True, slots=True)
class _Block:
    """An inverted bottleneck."""

    expand: _Layer | None
    depthwise: _Layer
    project: _Layer
    stride: int
    adds: bool


class Network:
    """The network with its weights.

    Raises:
        ArchiveError: a weight is missing or has another shape.
    """

    def __init__(self, weights: Weights) -> None:
        self._stem = _dense(weights, "_conv_stem", "_bn0", (_STEM, 3, 3, 3))
        self._blocks = list(_blocks(weights))
        self._head = _dense(weights, "_conv_head", "_bn1", (_HEAD, _STAGES[-1][-1], 1, 1))
        self._last = _taken(weights, "_fc.weight", (CLASSES, _HEAD)), _taken(weights, "_fc.bias", (CLASSES,))

    def probabilities(self, picture: Array) -> Array:
        """How likely each class is, `(1000,)`, of a picture `(224, 224, 3)` with values from -1 to 1."""
        passed = _stem(picture, self._stem)
        for block in self._blocks:
            inner = passed if block.expand is None else _relu6(_pointwise(passed, block.expand))
            inner = _depthwise(inner, block.depthwise, block.stride)
            projected = _pointwise(inner, block.project)
            passed = projected + passed if block.adds else projected
        pooled = _relu6(_pointwise(passed, self._head)).mean(axis=(0, 1))
        scores = self._last[0] @ pooled + self._last[1]
        powers = np.exp(scores - scores.max())
        found: Array = powers / powers.sum()
        return found


def _blocks(weights: Weights) -> Iterator[_Block]:
    number, taken = 0, _STEM
    for repeats, kernel, first_stride, expansion, given in _STAGES:
        for repeat in range(repeats):
            name, inner = f"_blocks.{number}", taken * expansion
            expand = None
            if expansion > 1:
                expand = _dense(weights, f"{name}._expand_conv", f"{name}._bn0", (inner, taken, 1, 1))
            depthwise, bias = _folded(weights, f"{name}._depthwise_conv", f"{name}._bn1", (inner, 1, kernel, kernel))
            yield _Block(
                expand,
                _Layer(np.ascontiguousarray(depthwise[:, 0].transpose(1, 2, 0)), bias),
                _dense(weights, f"{name}._project_conv", f"{name}._bn2", (given, inner, 1, 1)),
                stride=first_stride if repeat == 0 else 1,
                adds=repeat > 0,
            )
            number, taken = number + 1, given


def _dense(weights: Weights, name: str, norm: str, shape: tuple[int, ...]) -> _Layer:
    """A convolution as a matrix product: rows are the kernel's places and the channels in."""
    weight, bias = _folded(weights, name, norm, shape)
    return _Layer(np.ascontiguousarray(weight.transpose(2, 3, 1, 0).reshape(-1, shape[0])), bias)


def _folded(weights: Weights, name: str, norm: str, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Weights `(out, in, k, k)` and bias of a convolution and the normalisation after it."""
    out = (shape[0],)
    scale = _taken(weights, f"{norm}.weight", out) / np.sqrt(_taken(weights, f"{norm}.running_var", out) + _EPSILON)
    bias = _taken(weights, f"{norm}.bias", out) - _taken(weights, f"{norm}.running_mean", out) * scale
    return _taken(weights, f"{name}.weight", shape) * scale[:, None, None, None], bias


def _taken(weights: Weights, name: str, shape: tuple[int, ...]) -> Array:
    found = weights.get(name)
    if found is None or found.shape != shape:
        raise ArchiveError(f"{name}: found {getattr(found, 'shape', None)}; EfficientNet-lite0 has {shape}")
    return found


def _pointwise(picture: Array, layer: _Layer) -> Array:
    height, width, channels = picture.shape
    found: Array = (picture.reshape(-1, channels) @ layer.weight + layer.bias).reshape(height, width, -1)
    return found


def _stem(picture: Array, layer: _Layer) -> Array:
    """The 3x3 convolution at the beginning, with stride 2, over all channels."""
    size = EDGE // 2
    padded = _padded(picture, 3, 2)
    places = [padded[i : i + 2 * size : 2, j : j + 2 * size : 2] for i in range(3) for j in range(3)]
    return _relu6(_pointwise(np.concatenate(places, axis=2), layer))


def _depthwise(picture: Array, layer: _Layer, stride: int) -> Array:
    """A k x k convolution of each channel by itself, and ReLU6: shifted pictures, weighed and summed, row by row."""
    kernel, height, width = layer.weight.shape[0], -(-picture.shape[0] // stride), -(-picture.shape[1] // stride)
    padded = _padded(picture, kernel, stride)
    found = np.empty((height, width, picture.shape[2]), np.float32)
    rows = max(1, _ROWS_BYTES // (4 * width * picture.shape[2]))
    part = np.empty((rows, *found.shape[1:]), np.float32)
    for top in range(0, height, rows):
        summed = found[top : top + rows]
        weighed = part[: len(summed)]
        summed[:] = layer.bias
        for i in range(kernel):
            low = top * stride + i
            for j in range(kernel):
                shifted = padded[low : low + stride * len(summed) : stride, j : j + stride * width : stride]
                np.multiply(shifted, layer.weight[i, j], out=weighed)
                summed += weighed
        _relu6(summed)
    return found


def _padded(picture: Array, kernel: int, stride: int) -> Array:
    """As TensorFlow pads: just so much that every place is covered, the odd one behind."""
    height, width, channels = picture.shape
    gaps = [max((-(-length // stride) - 1) * stride + kernel - length, 0) for length in (height, width)]
    found = np.zeros((height + gaps[0], width + gaps[1], channels), np.float32)
    found[gaps[0] // 2 : gaps[0] // 2 + height, gaps[1] // 2 : gaps[1] // 2 + width] = picture
    return found


def _relu6(values: Array) -> Array:
    """Clips in place."""
    return np.clip(values, 0, 6, out=values)
