"""Opening: what is refused, under which name, before anything is decoded, and from many threads at once."""

import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import pytest
from PIL import Image
from support.image_files import exif, jpeg_with, png_chunk, png_claiming, png_with, stored_for, tiny_webp
from support.pictures import encoded, quadrants, smooth

from pipeline.errors import ErrorType, ImageError
from pipeline.images.opening import FORMATS, decoding, open_image, read_header

LIMITS = {"max_bytes": 50_000_000, "max_pixels": 178_956_970}
MEDIA_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "GIF": "image/gif",
    "WEBP": "image/webp",
    "TIFF": "image/tiff",
    "BMP": "image/bmp",
    "AVIF": "image/avif",
    "JPEG2000": "image/jp2",
}
WARNED_ABOUT = jpeg_with(
    encoded(smooth(64, 48)), 0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x0f\0\2\0\0\x03\xe8\0\0\0\x1a"
)
"""A sound JPEG whose EXIF data claim more bytes than there are: Pillow warns of it."""


def _refusal(raw: bytes, **limits: int) -> tuple[ErrorType | str, str]:
    with pytest.raises(ImageError) as caught:
        read_header("row 7: a.jpg", raw, **{**LIMITS, **limits})
    assert str(caught.value).startswith("row 7: a.jpg: ")
    return caught.value.error_type, str(caught.value)


@pytest.fixture
def pillows_limit() -> Iterator[int]:
    """Pillow's own limit, as it was before the test; put back after it."""
    before = Image.MAX_IMAGE_PIXELS
    assert before is not None
    yield before
    Image.MAX_IMAGE_PIXELS = before


@pytest.mark.parametrize("name", FORMATS)
def test_header_of_every_format(name: str) -> None:
    """Each allowed format is told by its contents, with its media type and size."""
    header = read_header("x", encoded(smooth(90, 60), name), **LIMITS)
    assert (header.format, header.media_type) == (name, MEDIA_TYPES[name])
    assert (header.width, header.height, header.orientation, header.several) == (90, 60, 1, False)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_header_gives_the_size_as_seen(name: str, orientation: int) -> None:
    """Width and height are those of the upright picture, for each orientation and each format that has one."""
    raw = encoded(stored_for(orientation, 90, 60), name, exif=exif(orientation))
    header = read_header("x", raw, **LIMITS)
    assert (header.width, header.height) == (90, 60)


@pytest.mark.parametrize("value", [0, 9, 65_535])
def test_a_nonsense_orientation_is_none(value: int) -> None:
    """An orientation that EXIF does not know leaves the picture as it is."""
    assert read_header("x", encoded(smooth(90, 60), exif=exif(value)), **LIMITS).orientation == 1


def test_the_header_is_read_without_the_pixels() -> None:
    """A file whose pixels are missing has a header all the same: nothing was decoded for it."""
    header = read_header("x", png_claiming(4000, 3000), **LIMITS)
    assert (header.width, header.height) == (4000, 3000)


def test_orientation_behind_the_pixels_of_a_png_is_found() -> None:
    """A PNG may carry its EXIF data after the pixels."""
    raw = encoded(smooth(90, 60), "PNG", exif=exif(6))
    start = raw.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(raw[start : start + 4])
    moved = raw[:start] + raw[end:-12] + raw[start:end] + raw[-12:]
    assert read_header("x", moved, **LIMITS).orientation == 6


@pytest.mark.parametrize("name", ["GIF", "WEBP", "TIFF", "PNG", "AVIF"])
def test_several_pictures_in_one_file_are_told(name: str) -> None:
    """Animations and multi-page files are told from single pictures."""
    raw = encoded(smooth(64, 48), name, save_all=True, append_images=[smooth(64, 48, seed=3)])
    assert read_header("x", raw, **LIMITS).several


def test_an_empty_file_is_corrupt() -> None:
    """No bytes are no image."""
    assert _refusal(b"")[0] == ErrorType.IMAGE_CORRUPT


@pytest.mark.parametrize(
    "raw",
    [
        b"hello, this is no picture",
        bytes(5000),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\nshowpage\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.7\n",
        b"P6 2 2 255 " + bytes(12),
    ],
    ids=["text", "zeros", "eps", "svg", "pdf", "ppm"],
)
def test_what_is_not_on_the_allow_list_is_unsupported(raw: bytes) -> None:
    """Formats that are not read, even where Pillow could, are refused by a name of their own."""
    kind, message = _refusal(raw)
    assert kind == ErrorType.IMAGE_UNSUPPORTED
    assert "HEIC" in message


def test_heic_without_the_extra_says_how_to_install_it() -> None:
    """Where the library is missing, a HEIC is unsupported, and the message names the extra."""
    program = (
        "import sys; sys.modules['pillow_heif'] = None\n"
        "from pipeline.errors import ImageError\n"
        "from pipeline.images.opening import read_header\n"
        "raw = b'\\0\\0\\0\\x18ftypheic\\0\\0\\0\\0mif1heic'\n"
        "try: read_header('a.heic', raw, max_bytes=99, max_pixels=99)\n"
        "except ImageError as error: print(error.error_type, error)\n"
    )
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert found.stdout.startswith("image_unsupported a.heic: ")
    assert "pipeline[heic]" in found.stdout


def test_an_eps_file_starts_no_process_and_no_plugin() -> None:
    """Pillow's EPS plugin, which starts Ghostscript, is not even loaded by a file that pretends to be a JPEG."""
    program = (
        "import sys\n"
        "from pipeline.errors import ImageError\n"
        "from pipeline.images.opening import read_header\n"
        "sys.addaudithook(lambda event, _: sys.exit(9) if event in ('subprocess.Popen', 'os.exec') else None)\n"
        "try:\n"
        "    read_header('a.jpg', b'%!PS-Adobe-3.0 EPSF-3.0\\n%%BoundingBox: 0 0 9 9', max_bytes=99, max_pixels=99)\n"
        "except ImageError as error:\n"
        "    print(error.error_type, 'PIL.EpsImagePlugin' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["image_unsupported", "False"]


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "BMP"])
@pytest.mark.parametrize("kept", [13, 20])
def test_a_file_cut_in_its_header_is_corrupt(name: str, kept: int) -> None:
    """A file that begins like an image and ends within its header is corrupt, not unsupported."""
    raw = encoded(smooth(64, 48), name)[:kept]
    assert _refusal(raw)[0] == ErrorType.IMAGE_CORRUPT


def test_too_many_bytes_are_refused_unopened() -> None:
    """The limit on bytes holds whatever the bytes are, and is named."""
    kind, message = _refusal(bytes(101), max_bytes=100)
    assert kind == ErrorType.IMAGE_TOO_LARGE
    assert "images.max_bytes" in message


@pytest.mark.parametrize(
    "raw",
    [
        png_claiming(30_000, 30_000, padding=1_000_000),
        tiny_webp(16_383, 16_383),
        encoded(Image.new("1", (400, 251)), "PNG"),
    ],
    ids=["900 megapixels", "webp of 268 megapixels", "just over"],
)
def test_too_many_pixels_are_refused_on_the_header(raw: bytes) -> None:
    """The limit on pixels is checked before decoding, and named with its setting."""
    limit = 178_956_970 if len(raw) > 1_000_000 or raw[:4] == b"RIFF" else 100_000
    kind, message = _refusal(raw, max_pixels=limit)
    assert kind == ErrorType.IMAGE_TOO_LARGE
    assert "images.max_pixels" in message


def test_exactly_as_many_pixels_as_allowed_are_read() -> None:
    """The limit itself is allowed."""
    header = read_header("x", encoded(Image.new("1", (400, 250)), "PNG"), max_bytes=10_000, max_pixels=100_000)
    assert header.width == 400


def test_84_megapixels_in_a_few_bytes_are_a_bomb() -> None:
    """A WebP of a few dozen bytes that unpacks to 84 megapixels is refused, though its pixels are within the limit."""
    raw = tiny_webp(9_170, 9_170)
    assert len(raw) < 60
    kind, message = _refusal(raw)
    assert kind == ErrorType.IMAGE_TOO_LARGE
    assert "bomb" in message


def test_a_tiny_webp_of_usual_size_is_read() -> None:
    """A small file of one colour is no bomb as long as its pixels are few."""
    assert read_header("x", tiny_webp(2000, 1000), **LIMITS).width == 2000


def test_a_raised_limit_reaches_pillow_and_is_never_lowered(pillows_limit: int) -> None:
    """Where images.max_pixels allows more than Pillow's own limit, such an image is opened, now and after others."""
    wide = png_claiming(20_000, 15_000, padding=100_000)
    assert 2 * pillows_limit < 20_000 * 15_000
    for _ in range(2):
        assert read_header("x", wide, max_bytes=10**6, max_pixels=300_000_000).width == 20_000
        assert _refusal(wide, max_pixels=299_999_999)[0] == ErrorType.IMAGE_TOO_LARGE


@pytest.mark.parametrize(
    "chunk",
    [
        png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(200_000_000), 9)),
        png_chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(200_000_000), 9)),
        png_chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(200_000_000), 9)),
    ],
    ids=["zTXt", "iTXt", "iCCP"],
)
def test_compressed_metadata_are_not_unpacked_without_bound(chunk: bytes) -> None:
    """200 MB of packed text or profile cost the row, not the memory."""
    raw = png_with(encoded(quadrants(), "PNG"), chunk)
    tracemalloc.start()
    try:
        with pytest.raises(ImageError):
            read_header("x", raw, **LIMITS)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000


def test_metadata_in_too_many_pieces_are_refused() -> None:
    """A file that hides a picture behind thousands of comments is refused before Pillow reads them."""
    kind, message = _refusal(jpeg_with(encoded(quadrants()), 0xFE, *[b"x"] * 5000))
    assert kind == ErrorType.IMAGE_TOO_LARGE
    assert "metadata" in message


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (MemoryError(), ErrorType.IMAGE_TOO_LARGE),
        (Image.DecompressionBombError("900 megapixels"), ErrorType.IMAGE_TOO_LARGE),
        (RecursionError("deep"), ErrorType.IMAGE_CORRUPT),
        (OverflowError(), ErrorType.IMAGE_CORRUPT),
        (AssertionError(), ErrorType.IMAGE_CORRUPT),
        (NotImplementedError("odd subformat"), ErrorType.IMAGE_CORRUPT),
        (OSError("image file is\n truncated"), ErrorType.IMAGE_CORRUPT),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_a_decoder_raises_becomes_an_error_of_its_image(raised: Exception, kind: ErrorType) -> None:
    """Whatever a decoder raises is told as this image's failure, in one line, with its cause."""
    with pytest.raises(ImageError) as caught, decoding("a.png"):
        raise raised
    assert caught.value.error_type == kind
    assert caught.value.__cause__ is raised
    assert str(caught.value).startswith("a.png: ")
    assert "\n" not in str(caught.value)


def test_an_interrupt_is_not_an_image_error() -> None:
    """What stops the program passes through."""
    with pytest.raises(KeyboardInterrupt), decoding("a.png"):
        raise KeyboardInterrupt


def _header(raw: bytes) -> Callable[[int], tuple[int, int]]:
    def read(_: int) -> tuple[int, int]:
        with open_image("x", raw, **LIMITS) as image, decoding("x"):
            image.getexif()
            image.load()
            return image.size

    return read


def test_pillows_warnings_reach_nobody_from_any_thread() -> None:
    """With warnings as errors, files that Pillow warns of decode in many threads at once, every time."""
    with pytest.warns(UserWarning, match=r"EXIF|larger"):
        Image.open(BytesIO(WARNED_ABOUT)).getexif()
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(_header(WARNED_ABOUT), range(400))) == {(64, 48)}


def test_first_files_of_every_format_open_at_once_in_a_fresh_process() -> None:
    """The first images of a process, of all formats in as many threads, are all known, under warnings as errors."""
    program = (
        "import sys\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from threading import Barrier\n"
        "from pipeline.images.opening import read_header\n"
        "raws = [bytes.fromhex(line) for line in sys.stdin.read().split()]\n"
        "gate = Barrier(len(raws))\n"
        "def read(raw):\n"
        "    gate.wait()\n"
        "    return read_header('x', raw, max_bytes=10**6, max_pixels=10**6).format\n"
        "with ThreadPoolExecutor(len(raws)) as threads:\n"
        "    print(*threads.map(read, raws))\n"
    )
    files = "\n".join(encoded(smooth(64, 48), name).hex() for name in FORMATS)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        input=files,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.split() == list(FORMATS)
