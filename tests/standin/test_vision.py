"""What is seen in an image block, and which blocks are refused."""

import warnings
from typing import Any

import pytest
from PIL import Image
from support.asking import image_block, picture
from support.pictures import encoded, smooth

from pipeline.standin.models import MODELS
from pipeline.standin.problems import Problem
from pipeline.standin.vision import SeenImage, look, look_at

STANDARD, HIGH = MODELS["claude-haiku-4-5-20251001"], MODELS["claude-sonnet-5-5"]
LIMIT = 5_242_880
PLACE = "messages.0.content.0"


def seen(*blocks: dict[str, Any], limit: int = LIMIT) -> list[SeenImage]:
    """What is seen in these blocks of one message."""
    return look_at([(f"messages.0.content.{n}", block) for n, block in enumerate(blocks)], STANDARD, limit)[0]


def refused(*blocks: dict[str, Any], limit: int = LIMIT) -> Problem:
    """How these blocks are refused."""
    with pytest.raises(Problem) as caught:
        seen(*blocks, limit=limit)
    return caught.value


@pytest.mark.parametrize(
    ("name", "media_type"),
    [("PNG", "image/png"), ("JPEG", "image/jpeg"), ("GIF", "image/gif"), ("WEBP", "image/webp")],
)
def test_all_four_formats_are_seen(name: str, media_type: str) -> None:
    """Each format is decoded, whatever its encoder."""
    [image] = seen(image_block(picture(90, 60, name), media_type))
    assert (image.width, image.height) == (90, 60)


@pytest.mark.parametrize(("size", "shape"), [((90, 60), "landscape"), ((60, 90), "portrait"), ((60, 60), "square")])
def test_the_sentence_states_size_orientation_colours_and_hash(size: tuple[int, int], shape: str) -> None:
    """A caption can be traced to its image by what was measured in it."""
    raw = encoded(Image.new("RGB", size, (230, 30, 30)), "PNG")
    [image] = seen(image_block(raw))
    assert image.sentence.startswith(f"{size[0]}x{size[1]} {shape} picture; mostly #e61e1e")
    assert image.sentence.endswith(f"sha256 {image.sha256[:12]}")


def test_two_colours_are_named_in_the_order_of_their_share() -> None:
    """The larger one comes first."""
    image = Image.new("RGB", (64, 64), (0, 0, 255))
    image.paste((255, 255, 0), (0, 0, 16, 64))
    [found] = seen(image_block(encoded(image, "PNG")))
    assert found.colours == ("#0000ff", "#ffff00")


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "I;16"])
def test_every_colour_mode_is_seen_without_a_warning(mode: str) -> None:
    """Grey, palette, alpha, two levels and 16 bits are all decoded quietly."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        [image] = seen(image_block(encoded(Image.new(mode, (20, 10)), "PNG")))
    assert (image.width, image.height) == (20, 10)


def test_a_palette_with_transparent_entries_is_seen() -> None:
    """Transparency given entry by entry does not disturb the decoder."""
    image = smooth(32, 32).quantize(8)
    [found] = seen(image_block(encoded(image, "PNG", transparency=bytes([0, 128, 255, 255, 255, 255, 255, 255]))))
    assert found.colours


def test_the_limit_is_on_the_base64_text() -> None:
    """An image whose raw bytes are below the limit and whose text is not is refused; at the limit it passes."""
    block = image_block()
    length = len(block["source"]["data"])
    assert seen(block, limit=length)
    problem = refused(block, limit=length - 1)
    assert f"{length} bytes > {length - 1} bytes" in problem.message
    assert problem.message.startswith(f"{PLACE}.image.source.base64: image exceeds")


def test_a_length_over_the_limit_is_told_before_the_bytes_are_looked_at() -> None:
    """An oversized text that is not even base64 is refused for its length."""
    block = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "!" * 50}}
    assert "exceeds" in refused(block, limit=49).message
    assert "invalid base64" in refused(block, limit=50).message


def test_the_declared_type_must_be_that_of_the_bytes() -> None:
    """Both are named, and it is told before the picture is decoded."""
    problem = refused(image_block(b"\xff\xd8\xff no picture", "image/png"))
    assert "specified as image/png, but appears to be image/jpeg" in problem.message


@pytest.mark.parametrize("raw", [b"hello", picture()[:60], picture(name="JPEG")[:200], b"BM" + bytes(60)])
def test_what_cannot_be_decoded_has_no_position(raw: bytes) -> None:
    """No image, a cut one, another format: the service does not say where."""
    kind = "image/jpeg" if raw.startswith(b"\xff\xd8") else "image/png"
    assert refused(image_block(), image_block(raw, kind)).message == "Could not process image"


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ({"type": "base64", "media_type": "image/tiff", "data": "AAAA"}, "media_type"),
        ({"type": "base64", "media_type": "image/png"}, "data: Field required"),
        ({"type": "base64", "media_type": "image/png", "data": "AAAA\n"}, "invalid base64"),
        ({"type": "base64", "media_type": "image/png", "data": "data:image/png;base64,AAAA"}, "invalid base64"),
        ({"type": "path", "path": "/etc/passwd"}, "source.type"),
        ({"type": "url", "url": "http://example.org/a.png"}, "https"),
        ({"type": "url", "url": "https://example.org/a.png", "media_type": "image/png"}, "media_type"),
    ],
)
def test_a_malformed_source_is_refused_at_its_place(source: dict[str, Any], word: str) -> None:
    """Its type, fields and text are checked."""
    problem = refused({"type": "image", "source": source})
    assert problem.status == 400
    assert problem.message.startswith(f"{PLACE}.image.source")
    assert word in problem.message


def test_an_unknown_file_is_not_found() -> None:
    """There is no file to be had by an id."""
    assert refused({"type": "image", "source": {"type": "file", "file_id": "file_1"}}).status == 404


def test_a_url_is_taken_at_its_word() -> None:
    """Nothing is fetched: it costs a full image, and its sentence holds the hash of the URL."""
    block = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
    [image], [tokens] = look_at([(PLACE, block)], STANDARD, LIMIT)
    assert tokens == 1568
    assert image.sha256[:12] in image.sentence


def test_sides_over_eight_thousand_are_refused_with_every_offender() -> None:
    """The details name the code, the limit and all places at once."""
    long = image_block(encoded(Image.new("1", (8001, 4)), "PNG"))
    problem = refused(long, image_block(), long)
    assert problem.details == {
        "error_code": "image_dimensions_too_large",
        "max_side_length_pixels": 8000,
        "paths": ["messages.0.content.0", "messages.0.content.2"],
    }
    assert seen(image_block(encoded(Image.new("1", (8000, 4)), "PNG")))


def test_more_than_twenty_images_have_a_stricter_side() -> None:
    """Twenty images may have 8000 px, with the twenty-first each may have 2000."""
    wide, small = image_block(encoded(Image.new("1", (2001, 4)), "PNG")), image_block()
    assert len(seen(wide, *[small] * 19)) == 20
    problem = refused(wide, *[small] * 20)
    assert problem.details is not None
    assert problem.details["max_side_length_pixels"] == 2000
    assert problem.details["paths"] == ["messages.0.content.0"]
    assert "many-image requests" in problem.message


def test_a_picture_of_forbidden_size_is_never_decoded() -> None:
    """A file that claims a side over the limit is refused by its header, however few bytes follow."""
    whole = encoded(Image.new("1", (9000, 9000)), "PNG")
    assert "8000 pixels" in refused(image_block(whole[:100])).message


def test_the_number_of_images_goes_by_the_model() -> None:
    """A model of 200k tokens takes a hundred, and one more is refused before any is decoded."""
    broken = image_block(b"broken")
    assert "at most 100 images" in refused(*[broken] * 101).message


def test_the_strict_mode_names_the_largest_size_that_fits() -> None:
    """`oversized_image: error` turns the silent shrink into a 400 that says how far to go."""
    raw = picture(1500, 1500)
    strict = image_block(raw, transformations={"oversized_image": "error"})
    assert seen(image_block(raw))
    problem = refused(strict)
    assert "1500x1500" in problem.message
    assert "1092x1092" in problem.message
    assert look_at([(PLACE, strict)], HIGH, LIMIT)[1] == [2916]


def test_one_block_by_itself_is_seen_as_within_a_request() -> None:
    """The single look obeys the same rules, the stricter side on demand."""
    block = image_block(picture(2100, 100))
    assert look(block, f"{PLACE}.image", False, LIMIT, STANDARD)[0] == seen(block)[0]
    with pytest.raises(Problem, match="many-image"):
        look(block, f"{PLACE}.image", True, LIMIT, STANDARD)
