"""From cells to ids and images."""

from hashlib import sha256
from typing import Any

import pytest

from pipeline.manifest.identity import hashed_id
from pipeline.manifest.rows import RowReader, RowSettings, broken_row
from pipeline.records import ImageRef, Item

PNG = b"\x89PNG"
PNG_NAME = f"sha256:{sha256(PNG).hexdigest()}"


def item(row: dict[str, Any], images: tuple[str, ...] = ("image",), separator: str | None = None) -> Item:
    """The item of a row whose keys are all the columns."""
    return RowReader(RowSettings("id", images, separator), tuple(row)).item(row, None, "m row 3")


@pytest.mark.parametrize(
    ("cell", "refs"),
    [
        ("a b.jpg", [("a b.jpg", None)]),
        ("https://example.org/a?b=c|d", [("https://example.org/a?b=c|d", None)]),
        ("data:image/png;base64,aGVsbG8=", [("data:image/png;base64,aGVsbG8=", None)]),
        (PNG, [(PNG_NAME, PNG)]),
        (b"", [(f"sha256:{sha256().hexdigest()}", b"")]),
        ({"bytes": PNG, "path": "x.png"}, [("x.png", PNG)]),
        ({"bytes": PNG, "path": None}, [(PNG_NAME, PNG)]),
        ({"bytes": None, "path": "x.png"}, [("x.png", None)]),
        ({"path": "x.png"}, [("x.png", None)]),
        (["b", {"path": "a"}, PNG, "b"], [("b", None), ("a", None), (PNG_NAME, PNG), ("b", None)]),
    ],
)
def test_every_spelling_of_an_image_is_taken(cell: Any, refs: list[tuple[str, bytes | None]]) -> None:
    """Paths, URLs, data URIs, bytes, structs and lists of these, in order."""
    found = item({"id": "a", "image": cell})
    assert found.problem is None
    assert [(ref.source, ref.data, ref.column) for ref in found.images] == [(*ref, "image") for ref in refs]


@pytest.mark.parametrize("cell", [None, "", [], {"bytes": None, "path": None}, {"bytes": b"", "path": ""}])
def test_a_cell_without_an_image_is_image_missing(cell: Any) -> None:
    """Null and empty cells name the column and the row."""
    problem = item({"id": "a", "image": cell}).problem
    assert problem is not None
    assert (problem.error_type, str(problem)) == ("image_missing", 'm row 3: column "image" names no image')


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (7, "holds int"),
        ({"url": "x"}, "holds a struct without bytes or path"),
        ({"bytes": "aGk=", "path": "x"}, "holds a struct whose bytes are text"),
        (["a", None], "holds null"),
        (["a", ""], "holds an empty text"),
        ([["a"]], "holds list"),
    ],
)
def test_what_is_no_image_is_named(cell: Any, said: str) -> None:
    """The message says what was found, and the item keeps its id."""
    found = item({"id": "a", "image": cell})
    assert found.problem is not None
    assert said in str(found.problem)
    assert (found.item_id, found.images) == ("a", ())


def test_a_separated_field_is_a_list_without_its_empty_parts() -> None:
    """In csv several images stand in one field."""
    assert [ref.source for ref in item({"image": "|a||b c|"}, separator="|").images] == ["a", "b c"]
    assert [ref.source for ref in item({"image": "a::b|c"}, separator="::").images] == ["a", "b|c"]
    assert item({"image": "||"}, separator="|").problem is not None


def test_images_of_several_columns_keep_their_columns() -> None:
    """They stand in the order of the columns asked for; one of them may be empty, all of them may not."""
    columns = ("b", "a", "c")
    found = item({"a": "1", "b": ["2", "3"], "c": None}, columns)
    assert [(ref.column, ref.source) for ref in found.images] == [("b", "2"), ("b", "3"), ("a", "1")]
    assert found.problem is None
    nothing = item({"a": "", "b": [], "c": None}, columns).problem
    assert nothing is not None
    assert nothing.error_type == "image_missing"


def test_without_an_id_column_the_images_name_the_item() -> None:
    """The id is the hash of the references, whatever else the row holds."""
    assert item({"image": "a.jpg", "n": 1}).item_id == hashed_id([ImageRef("a.jpg")])


def test_a_row_that_brings_an_id_is_named_by_it_even_where_the_column_was_not_known() -> None:
    """Later rows of a jsonl file may have columns that its first rows lack."""
    assert (
        RowReader(RowSettings("id", ("image",)), ("image",)).item({"image": "a", "id": "x"}, None, "m").item_id == "x"
    )


def test_a_row_whose_id_is_missing_fails_under_the_hash_of_its_images() -> None:
    """Rows with damaged ids stay apart, and the id's problem goes before the image's."""
    reader = RowReader(RowSettings("id", ("image",)), ("id", "image"))
    first, second = (reader.item({"id": None, "image": name}, None, "m:2") for name in "ab")
    assert first.item_id == hashed_id([ImageRef("a")]) != second.item_id
    both = reader.item({"id": "", "image": ""}, None, "m:2").problem
    assert both is not None
    assert str(both) == "m:2: the id is empty"


def test_text_alone_needs_no_image() -> None:
    """Without image columns a row without an id is named by all that it holds."""
    first, same, other = (item({"text": text}, ()) for text in ("a", "a", "b"))
    assert first.problem is None
    assert first.item_id == same.item_id != other.item_id


@pytest.mark.parametrize("cell", [float("nan"), b"\xff", "\ud800", {"a": {1, 2}}, 2**70])
def test_any_value_can_name_a_row(cell: Any) -> None:
    """The hash of a row takes what JSON does not."""
    assert len(item({"x": cell}, ()).item_id) == 16


def test_a_broken_row_is_an_item_that_says_where_and_why() -> None:
    """It fails as a row, under an id made of its bytes."""
    broken = broken_row("m.csv:7", b"1,2", "2 fields, the header has 3")
    assert broken.item_id == sha256(b"1,2").hexdigest()[:16]
    assert broken.problem is not None
    assert str(broken.problem) == "m.csv:7: 2 fields, the header has 3"
    assert broken.problem.error_type == "invalid_request_error"
    assert not broken.problem.retryable
