"""What preparing an image costs: CPU, memory and tokens, beside the plain way, libvips and the floor.

The pictures are the demo's photographs brought to 2, 12 and 24 megapixels with a little noise, as a sensor gives it.
CPU is that of the whole process (all its threads), the least of several rounds; the ways take turns, each in processes
of its own.

- plain: what everyone writes: open, `exif_transpose`, `convert`, resize by Lanczos, save.
- libvips: its `thumbnail` and `jpegsave`, through pyvips, which also decodes scaled.
- floor: what no way of this kind can go below: decoding, scaled where the format can be, and encoding the result.
"""

import importlib.util
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import anyio
from PIL import Image, ImageChops, ImageOps

from pipeline.images.decoders import Decoders
from pipeline.images.geometry import STANDARD, image_tokens, shrink, tight_shrink
from pipeline.images.memory import most_bytes
from pipeline.images.prepare import PrepareSettings, prepare
from pipeline.images.resizing import FAST

PHOTOS = Path(__file__).parent.parent / "data" / "photos"
PHOTO = PHOTOS / "landscapes" / "dandelions.jpg"
SIZES = {"2 MP": (1632, 1224), "12 MP": (4000, 3000), "24 MP": (6000, 4000)}
FORMATS: dict[str, dict[str, Any]] = {"JPEG": {"quality": 88}, "PNG": {"compress_level": 6}, "WEBP": {"quality": 88}}
COMMON_SIZES = (
    (1280, 720), (1280, 960), (1600, 1200), (1920, 1080), (1920, 1200), (2048, 1536), (2560, 1440), (3024, 4032),
    (3000, 4000), (3840, 2160), (4000, 2250), (4000, 3000), (4032, 3024), (4608, 3456), (5472, 3648), (6000, 4000),
    (1080, 1350), (1080, 1920), (1170, 2532), (1242, 2688), (1500, 1500), (2000, 2000), (2400, 1600), (1024, 1536),
    (2480, 3508), (1654, 2339), (1536, 2048), (1600, 900), (3264, 2448), (2592, 1944), (750, 1334), (2208, 1242),
)  # fmt: skip
"""Screens, cameras, phones, pages at 200 and 300 dpi, squares: what is over the standard bound, among others."""
SETTINGS = PrepareSettings()
PILLOWS_BLOCK_BYTES = 16 * 1024 * 1024
ROUNDS = 5
PASSING_BYTES = 300_000
IN_WORK = 16


def photograph(size: tuple[int, int]) -> Image.Image:
    """A photograph of this size with the noise of a sensor."""
    with Image.open(PHOTO) as photo:
        picture = ImageOps.fit(photo.convert("RGB"), size, Image.Resampling.BICUBIC)
    grain = Image.merge("RGB", [Image.effect_noise(size, 6) for _ in range(3)])
    return ImageChops.add(picture, grain, 1, -128)


def encoded(picture: Image.Image, name: str, **options: Any) -> bytes:
    """The picture as a file."""
    sink = BytesIO()
    picture.save(sink, name, **options)
    return sink.getvalue()


def least_cpu_ms(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """CPU ms of each way, the least over the rounds."""
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.process_time()
            way()
            best[name] = min(best[name], (time.process_time() - began) * 1000)
    return best


def ways_to_prepare(raw: bytes, name: str) -> dict[str, Callable[[], object]]:
    """Ours, the plain way, libvips where it is installed, and the floor."""
    result = Image.open(BytesIO(prepare("x", raw, SETTINGS).body)).convert("RGB")
    size = result.size

    def plain() -> None:
        image = ImageOps.exif_transpose(Image.open(BytesIO(raw))).convert("RGB")
        encoded(image.resize(size, Image.Resampling.LANCZOS), "JPEG", quality=85)

    def floor() -> None:
        image = Image.open(BytesIO(raw), formats=(name,))
        image.draft(None, size)
        image.load()
        encoded(result, "JPEG", quality=85)

    ways: dict[str, Callable[[], object]] = {
        "ours": lambda: prepare("x", raw, SETTINGS),
        "plain": plain,
        "floor": floor,
    }
    if importlib.util.find_spec("pyvips") is not None:
        import pyvips  # noqa: PLC0415 - a peer, not needed

        pyvips.cache_set_max(0)
        ways["libvips"] = lambda: pyvips.Image.thumbnail_buffer(raw, size[0], height=size[1]).jpegsave_buffer(Q=85)
    return ways


def measure_cpu(way: str, path: str, name: str) -> None:
    """Prints the CPU ms of one way; of others than ours with Pillow's memory settings as they come."""
    ways = ways_to_prepare(Path(path).read_bytes(), name)
    if way != "ours":
        Image.core.set_block_size(PILLOWS_BLOCK_BYTES)  # type: ignore[attr-defined]
        Image.core.set_blocks_max(0)  # type: ignore[attr-defined]
    found = least_cpu_ms({way: ways[way]}, ROUNDS) if way in ways else {way: None}
    print(json.dumps(found[way]))


def show_cpu() -> None:
    """CPU of every format and size."""
    print(f"CPU ms an image, least of {2 * ROUNDS} rounds; resizing by {'SIMD' if FAST else 'Pillow'}")
    columns = f"{'file MB':>8}{'ours':>8}{'plain':>8}{'libvips':>9}{'floor':>8}"
    print(f"{'':<14}{columns}   plain:ours  ours:floor  ours:libvips")
    for label, size in SIZES.items():
        picture = photograph(size)
        for name, options in FORMATS.items():
            raw = encoded(picture, name, **options)
            cpu = _cpu_apart(raw, name)
            ours, vips = cpu["ours"], cpu["libvips"]
            print(
                f"{label:<6}{name:<8}{len(raw) / 1e6:>8.1f}{ours:>8.1f}{cpu['plain']:>8.1f}"
                f"{f'{vips:.1f}' if vips else 'missing':>9}{cpu['floor']:>8.1f}"
                f"{cpu['plain'] / ours:>13.2f}{ours / cpu['floor']:>12.2f}{f'{ours / vips:.2f}' if vips else '-':>14}"
            )


def _cpu_apart(raw: bytes, name: str) -> dict[str, Any]:
    """CPU ms of each way, each in processes of its own: what one leaves in the heap makes the next one cheaper."""
    best: dict[str, Any] = {}
    with tempfile.NamedTemporaryFile() as file:
        file.write(raw)
        file.flush()
        for _ in range(2):
            for way in ("ours", "plain", "libvips", "floor"):
                found = _apart("cpu", way, file.name, name)
                best[way] = found if best.get(way) is None else min(best[way], found)
    return best


def _apart(*work: object) -> Any:
    """What a measurement in a process of its own prints."""
    command = [sys.executable, "-m", "benchmarks.bench_images", json.dumps(work)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def show_passing() -> None:
    """CPU of files that are sent as they are."""
    print(f"\nCPU ms of a file of about {PASSING_BYTES // 1000} KB that passes untouched")
    files = {}
    for label, name, options in (
        ("JPEG", "JPEG", {}),
        ("JPEG, progressive", "JPEG", {"progressive": True}),
        ("WebP", "WEBP", {"method": 2}),
    ):
        picture = photograph((1204, 903))
        qualities = (encoded(picture, name, quality=quality, **options) for quality in range(95, 20, -5))
        files[label] = next(raw for raw in qualities if len(raw) <= PASSING_BYTES)
    grey = photograph((644, 483)).convert("L").quantize(64)
    files["PNG, palette"] = encoded(grey, "PNG")
    for label, raw in files.items():
        if prepare("x", raw, SETTINGS).body != raw:
            raise RuntimeError(f"{label} did not pass")
        cpu = least_cpu_ms({label: lambda raw=raw: prepare("x", raw, SETTINGS)}, 15)  # type: ignore[misc]
        print(f"{label:<20}{len(raw) / 1000:>6.0f} KB{cpu[label]:>8.2f} ms")


def prepare_usual(raw: bytes) -> None:
    """Prepares a file; what comes of it is dropped, so that no process has to send it back."""
    prepare("x", raw, SETTINGS)


def show_threads() -> None:
    """How much more two threads do than one, beside two processes, which share no lock: all that the cores give."""
    raw = encoded(photograph(SIZES["12 MP"]), "JPEG", quality=88)
    spawn = multiprocessing.get_context("spawn")
    best = {"1 thread": 0.0, "2 threads": 0.0, "2 processes": 0.0}
    with (
        ThreadPoolExecutor(1) as one,
        ThreadPoolExecutor(2) as two,
        ProcessPoolExecutor(2, mp_context=spawn) as apart,
    ):
        pools = dict(zip(best, (one, two, apart), strict=True))
        for pool in pools.values():
            list(pool.map(prepare_usual, [raw] * 4))
        for _ in range(5):
            for name, pool in pools.items():
                began = time.perf_counter()
                list(pool.map(prepare_usual, [raw] * 10))
                best[name] = max(best[name], 10 / (time.perf_counter() - began))
    single, double, processes = best.values()
    print("\n12 MP JPEG, images/s: " + ", ".join(f"{name} {found:.1f}" for name, found in best.items()))
    print(f"2 threads : 1 thread {double / single:.2f}; 2 threads : 2 processes {double / processes:.2f}")


def show_tokens() -> None:
    """What landing on whole patches saves."""
    shrunk = [size for size in COMMON_SIZES if shrink(*size, STANDARD) != size]
    usual = {size: image_tokens(*shrink(*size, STANDARD)) for size in shrunk}
    tight = {size: image_tokens(*tight_shrink(*size, STANDARD)) for size in shrunk}
    saving = [size for size in shrunk if tight[size] < usual[size]]
    print(f"\nTokens of {len(shrunk)} common sizes that are shrunk, on the standard tier: the API's own size, ours")
    for size in saving:
        less = 1 - tight[size] / usual[size]
        sizes = f"{'x'.join(map(str, shrink(*size, STANDARD)))} -> {'x'.join(map(str, tight_shrink(*size, STANDARD)))}"
        print(f"{'x'.join(map(str, size)):<11}{sizes:<26}{usual[size]:>6}{tight[size]:>6}{-less:>8.1%}")
    whole = 1 - sum(tight.values()) / sum(usual.values())
    print(f"{len(saving)} of {len(shrunk)} sizes save; over all of them {whole:.1%}")


def show_memory() -> None:
    """Peak memory in processes of their own: one image, and many in work at once."""
    print("\nPeak memory above that of the program with its libraries, MB")
    for label, work in (
        ("one 24 MP JPEG", ["24 MP", "JPEG", 1]),
        ("one 24 MP PNG", ["24 MP", "PNG", 1]),
        ("one 24 MP WebP", ["24 MP", "WEBP", 1]),
        (f"{IN_WORK} 24 MP JPEGs in work", ["24 MP", "JPEG", IN_WORK]),
        (f"{IN_WORK} 24 MP WebPs in work", ["24 MP", "WEBP", IN_WORK]),
    ):
        peak, program = _apart("memory", *work)
        print(f"{label:<26}{peak - program:>6.0f}   (whole process {peak:.0f})")


def measure_memory(size: str, name: str, images: int) -> None:
    """Prepares so many at once; prints the peak and what the program itself takes, in MB."""
    made = [sys.executable, "-c", _MAKE, size, name]
    raw = subprocess.run(made, check=True, capture_output=True).stdout
    prepare("x", encoded(Image.new("RGB", (300, 300)), "JPEG"), SETTINGS)
    program = _peak_mb()

    async def work() -> None:
        async with Decoders(images, most_bytes(SETTINGS.max_pixels)) as decoders, anyio.create_task_group() as group:
            for _ in range(images):
                group.start_soon(decoders.prepare, "x", raw, SETTINGS)

    anyio.run(work)
    print(json.dumps([_peak_mb(), program]))


_MAKE = """
import sys
from benchmarks.bench_images import FORMATS, SIZES, encoded, photograph
size, name = sys.argv[1:]
sys.stdout.buffer.write(encoded(photograph(SIZES[size]), name, **FORMATS[name]))
"""


def _peak_mb() -> float:
    """The most that this process has held; not `ru_maxrss`, which a child inherits from its parent."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1000


def main() -> None:
    """Prints the tables."""
    show_cpu()
    show_passing()
    show_threads()
    show_tokens()
    show_memory()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        kind, *work = json.loads(sys.argv[1])
        {"cpu": measure_cpu, "memory": measure_memory}[kind](*work)
    else:
        main()
