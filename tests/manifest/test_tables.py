"""Parquet and Arrow manifests: types, damage, and files that are larger than they look."""

import random
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.manifests import extras_of, ids, items_of, problems, sources, write, write_parquet

from pipeline.errors import ManifestError

OFFSETS = b"\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0"


def bad_utf8() -> pa.Array:
    """Three texts, of which the second is no text."""
    return pa.StringArray.from_buffers(3, pa.py_buffer(OFFSETS), pa.py_buffer(b"a\xffc"))


def write_arrow(path: Path, table: pa.Table, *, stream: bool = False, **options: Any) -> Path:
    """An Arrow file or stream."""
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(str(path), table.schema) as sink:
        sink.write_table(table, **options)
    return path


@pytest.mark.parametrize("kind", ["parquet", "file", "stream"])
def test_every_format_of_tables_gives_the_same_items(tmp_path: Path, kind: str) -> None:
    """Rows in order over all batches, with places counted from 1."""
    names = [f"{number}.jpg" for number in range(2500)]
    table = pa.table({"id": range(2500), "image": names, "n": pa.array(range(2500), pa.int16())})
    if kind == "parquet":
        path = tmp_path / "m.parquet"
        pq.write_table(table, path, row_group_size=700)
    else:
        path = write_arrow(tmp_path / "m.arrow", table, stream=kind == "stream", max_chunksize=900)
    items = items_of(path)
    assert ids(items) == [str(number) for number in range(2500)]
    assert sources(items) == [[name] for name in names]
    assert [items[0].place, items[-1].place] == [f"{path.name} row 1", f"{path.name} row 2500"]
    assert extras_of(items[2499]) == {"types": {"n": pa.int16()}, "values": {"n": 2499}}


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a.jpg", "b.jpg"]).dictionary_encode(),
        pa.array(["a.jpg", "b.jpg"], pa.large_string()),
        pa.array(["a.jpg", "b.jpg"], pa.string_view()),
        pa.array([["a.jpg"], ["b.jpg"]], pa.large_list(pa.string())),
        pa.array([["a.jpg"], ["b.jpg"]], pa.list_(pa.string(), 1)),
        pa.array([{"bytes": None, "path": "a.jpg"}, {"bytes": None, "path": "b.jpg"}]),
    ],
    ids=lambda column: str(column.type),
)
def test_image_columns_may_be_of_any_type_that_holds_texts(tmp_path: Path, column: pa.Array) -> None:
    """Encodings and wide types are read like plain ones."""
    table = pa.table({"id": pa.array(["x", "y"]).dictionary_encode(), "image": column})
    items = items_of(write_arrow(tmp_path / "m.arrow", table))
    assert (ids(items), sources(items), items[0].extras) == (["x", "y"], [["a.jpg"], ["b.jpg"]], None)


def test_image_bytes_are_read_from_columns_and_structs(tmp_path: Path) -> None:
    """Binary columns and structs of bytes carry the images themselves."""
    structs = pa.array([{"bytes": b"one", "path": "x"}, {"bytes": b"two", "path": "x"}])
    for column in (pa.array([b"one", b"two"]), pa.array([b"one", b"two"], pa.large_binary()), structs):
        items = items_of(write_parquet(tmp_path / "m.parquet", {"image": column}))
        assert [ref.data for item in items for ref in item.images] == [b"one", b"two"]
        assert len(set(ids(items))) == 2


def test_categories_of_pandas_are_carried_as_texts(tmp_path: Path) -> None:
    """A dictionary column written to Parquet comes back from there as one."""
    path = write_parquet(
        tmp_path / "m.parquet", {"image": ["a"] * 100, "kind": pa.array(["x"] * 100).dictionary_encode()}
    )
    assert extras_of(items_of(path)[70]) == {"types": {"kind": pa.string()}, "values": {"kind": "x"}}


def test_templates_see_python_values(tmp_path: Path) -> None:
    """Times are datetimes to the microsecond, with pandas or without; their column keeps its nanoseconds."""
    nanoseconds = 1_577_836_800_123_456_789
    path = write_parquet(
        tmp_path / "m.parquet",
        {
            "image": ["a"],
            "at": pa.array([nanoseconds], pa.timestamp("ns", "UTC")),
            "took": pa.array([1_000_001], pa.duration("ns")),
            "tags": [["x", "y"]],
            "size": pa.array([{"w": 1}]),
        },
    )
    [item] = items_of(path)
    assert item.columns["at"] == datetime(2020, 1, 1, 0, 0, 0, 123_456, UTC)
    assert type(item.columns["at"]) is datetime
    assert (item.columns["took"], item.columns["tags"]) == (timedelta(milliseconds=1), ["x", "y"])
    assert item.columns["size"] == {"w": 1}
    assert extras_of(item)["types"]["at"] == pa.timestamp("ns", "UTC")
    assert item.extras is not None
    schema = pa.ipc.read_schema(pa.py_buffer(item.extras.schema_ipc()))
    row = pa.ipc.read_record_batch(pa.py_buffer(item.extras.row_ipc()), schema)
    assert row.column("at").cast(pa.int64()).to_pylist() == [nanoseconds]


def test_values_that_python_does_not_have_are_texts_in_templates(tmp_path: Path) -> None:
    """A year over 9999 costs no row, nor does an unknown time zone, whose times are in UTC."""
    days = pa.array([0, 10**7], pa.date32())
    table = {
        "image": ["a", "b"],
        "day": days,
        "days": pa.ListArray.from_arrays([0, 1, 2], days),
        "at": pa.array([0, 1], pa.timestamp("s", "X/Y")),
    }
    items = items_of(write_arrow(tmp_path / "m.arrow", pa.table(table)))
    assert problems(items) == [None, None]
    assert [item.columns["at"] for item in items] == [
        datetime(1970, 1, 1, 0, 0, second, tzinfo=UTC) for second in (0, 1)
    ]
    assert items[0].columns["day"] == date(1970, 1, 1)
    assert items[1].columns["day"] == "29349-01-26"
    assert isinstance(items[1].columns["days"], str)


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
@pytest.mark.parametrize("column", ["title", "image", "id"])
def test_a_cell_that_is_no_text_costs_its_row_alone(tmp_path: Path, suffix: str, column: str) -> None:
    """Neither the rows around it nor those who read the dataset later meet the damage."""
    table: dict[str, Any] = {"id": ["1", "2", "3"], "image": ["x", "y", "z"], "title": ["t", "u", "v"]}
    table[column] = bad_utf8()
    path = tmp_path / f"m.{suffix}"
    if suffix == "parquet":
        write_parquet(path, table)
    else:
        write_arrow(path, pa.table(table))
    items = items_of(path)
    assert [items[0].problem, items[2].problem] == [None, None]
    assert items[1].extras is None
    text = problems(items)[1]
    assert text is not None
    assert text.startswith(f'm.{suffix} row 2: column "{column}" cannot be read: ')
    if column != "id":
        assert items[1].item_id == "2"
    assert extras_of(items[2])["values"]["title"] == ("c" if column == "title" else "v")


def test_offsets_out_of_bounds_are_refused_before_they_are_followed(tmp_path: Path) -> None:
    """An Arrow file with a text that would lie outside its buffer costs that row; the process lives."""
    offsets = (0).to_bytes(4, "little") + (1).to_bytes(4, "little") + (2**30).to_bytes(4, "little")
    sane = write_arrow(tmp_path / "sane.arrow", pa.table({"id": ["1", "2"], "image": pa.array(["a", "b"])}))
    raw = sane.read_bytes()
    good = b"".join(number.to_bytes(4, "little") for number in (0, 1, 2))
    assert raw.count(good) >= 2
    at = raw.rindex(good)
    items = items_of(write(tmp_path / "m.arrow", raw[:at] + offsets + raw[at + 12 :]))
    assert items[0].problem is None
    assert items[1].problem is not None


def test_a_file_that_is_no_table_is_an_error(tmp_path: Path) -> None:
    """The message names the file and says that no row was read."""
    for name in ("m.parquet", "m.arrow"):
        for content in (b"", b"id,image\n1,a.jpg\n", b"PAR1PAR1", b"ARROW1\0\0", b"\xff" * 4000):
            with pytest.raises(ManifestError, match=f"{name}: (cannot be read after row 0|the manifest has no rows)"):
                items_of(write(tmp_path / name, content))


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_a_file_that_was_cut_or_garbled_is_an_error_or_read_whole(tmp_path: Path, suffix: str) -> None:
    """Of 150 mutations none gives fewer rows in silence, and none another error than ours."""
    table = pa.table({"id": range(300), "image": [f"{n}.jpg" for n in range(300)], "tags": [["a", "b"]] * 300})
    sink = BytesIO()
    if suffix == "parquet":
        pq.write_table(table, sink, row_group_size=100, write_page_checksum=True)
    else:
        with pa.ipc.new_file(sink, table.schema) as file:
            file.write_table(table, max_chunksize=100)
    raw, chance = sink.getvalue(), random.Random(7)
    path = tmp_path / f"m.{suffix}"
    for _ in range(150):
        damaged = bytearray(raw)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(raw))] = chance.randrange(256)
        if chance.random() < 0.2:
            del damaged[chance.randrange(len(raw)) :]
        with suppress(ManifestError):
            items = items_of(write(path, bytes(damaged)))
            assert suffix == "arrow" or len(items) == 300


def test_a_garbled_page_is_found_by_its_checksum(tmp_path: Path) -> None:
    """Where the writer left checksums, a changed byte is an error and not another image."""
    path = write_parquet(
        tmp_path / "m.parquet",
        {"image": [f"{n:05d}.jpg" for n in range(100)]},
        write_page_checksum=True,
        compression="none",
        use_dictionary=False,
    )
    raw = path.read_bytes()
    with pytest.raises(ManifestError, match="cannot be read"):
        items_of(write(path, raw.replace(b"00050.jpg", b"00051.jpg", 1)))


def test_a_table_without_rows_is_an_error(tmp_path: Path) -> None:
    """An empty table is not a finished one."""
    path = write_parquet(tmp_path / "m.parquet", {"image": pa.array([], pa.string())})
    with pytest.raises(ManifestError, match=r"m\.parquet: the manifest has no rows"):
        items_of(path)


def test_two_columns_of_one_name_are_an_error(tmp_path: Path) -> None:
    """Nobody could tell which of them is meant."""
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["image", "image"])
    with pytest.raises(ManifestError, match='column "image" stands twice'):
        items_of(write_arrow(tmp_path / "m.arrow", table))
