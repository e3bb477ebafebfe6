"""Names in an export."""

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.exports.naming import export_path, shard_key


@pytest.mark.parametrize(
    ("source", "root", "path"),
    [
        ("cats/a.jpg", "", "cats/a.jpg"),
        ("./cats//a.jpg", "", "cats/a.jpg"),
        ("/data/photos/cats/a.jpg", "/data/photos", "cats/a.jpg"),
        ("https://host.example/x/a.jpg", "", "host.example/x/a.jpg"),
        ("größe/ñ.png", "", "größe/ñ.png"),
    ],
)
def test_an_image_is_nested_as_under_its_root(source: str, root: str, path: str) -> None:
    """A plain path stays itself."""
    assert str(export_path(source, root)) == path


def test_what_leads_outside_gets_a_name_of_its_own() -> None:
    """Two sources that would fall together after cleaning do not."""
    first, second = export_path("../a.jpg"), export_path("a.jpg")
    assert first != second
    assert first.suffix == ".jpg"


@given(st.text(max_size=300), st.sampled_from(["", "/data", "x"]))
def test_no_source_leads_out_of_the_export(source: str, root: str) -> None:
    """Every path is relative, has no step upwards, and no part that a file system refuses."""
    path = export_path(source, root)
    assert not path.is_absolute()
    assert path.parts
    for part in path.parts:
        assert part not in ("..", ".")
        assert "\0" not in part
        assert len(part) <= 250


@given(st.lists(st.text(max_size=30), min_size=2, max_size=2, unique=True))
def test_different_ids_have_different_keys(ids: list[str]) -> None:
    """A WebDataset key is safe, and tells items apart."""
    first, second = map(shard_key, ids)
    assert first != second
    assert "." not in first
    assert "/" not in first


def test_a_data_uri_is_named_by_its_hash() -> None:
    """Inline images have no path to be named after."""
    assert export_path("data:image/png;base64,AAAA").parts[0].startswith("inline-")
    assert export_path("") != PurePosixPath()
