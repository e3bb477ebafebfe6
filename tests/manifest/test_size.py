"""The number of rows, guessed for a progress bar."""

from pathlib import Path

import pytest
from support.manifests import write, write_parquet

from pipeline.manifest.producer import ManifestSettings
from pipeline.manifest.size import rows_hint


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("m.csv", "id,image\n1,a\n2,b", 2),
        ("m.csv", "id,image\n1,a\n2,b\n", 2),
        ("m.csv", "", 0),
        ("m.tsv", "id\timage\n", 0),
        ("m.jsonl", "{}\n{}\n{}\n", 3),
        ("m.txt", "a\nb", 2),
        ("m.parquet", "no parquet", None),
        ("m.arrow", "whatever", None),
    ],
)
def test_text_manifests_are_counted_by_their_line_ends(
    tmp_path: Path, name: str, content: str, rows: int | None
) -> None:
    """The header of csv does not count, a last line without its end does."""
    assert rows_hint(ManifestSettings(str(write(tmp_path / name, content)))) == rows


def test_a_parquet_file_says_itself_how_many_rows_it_has(tmp_path: Path) -> None:
    """Nothing but its foot is read."""
    path = write_parquet(tmp_path / "m.parquet", {"image": ["a"] * 1234})
    assert rows_hint(ManifestSettings(str(path))) == 1234
    assert rows_hint(ManifestSettings(str(path.rename(tmp_path / "m.data")), format="parquet")) == 1234


@pytest.mark.parametrize("path", ["-", ".", "no/such.csv", "*.jpg"])
def test_what_is_no_file_has_no_hint(path: str) -> None:
    """Standard input, folders, globs and missing files."""
    assert rows_hint(ManifestSettings(path)) is None
