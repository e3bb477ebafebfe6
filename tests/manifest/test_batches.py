"""Csv, tsv, jsonl and lists of references as items."""

import json
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pytest
from support.manifests import extras_of, ids, items_of, problems, sources, write

from pipeline.errors import ManifestError
from pipeline.manifest.opened import MAX_COLUMNS
from pipeline.manifest.producer import ManifestSettings, open_manifest


def jsonl(path: Path, *rows: object) -> Path:
    """A jsonl file of these values."""
    return write(path, "".join(json.dumps(row) + "\n" for row in rows))


def test_csv_rows_are_items_with_their_places(tmp_path: Path) -> None:
    """A quoted line end moves the rows after it, and every other column is a text."""
    path = write(tmp_path / "m.csv", '\ufeffid,image,title,year\r\n1,a.jpg,"x\r\ny",2020\r\n2,b.jpg,,\r\n')
    items = items_of(path)
    assert (ids(items), sources(items)) == (["1", "2"], [["a.jpg"], ["b.jpg"]])
    assert [item.place for item in items] == ["m.csv:2", "m.csv:4"]
    assert items[0].columns == {"id": "1", "image": "a.jpg", "title": "x\r\ny", "year": "2020"}
    assert extras_of(items[1]) == {
        "types": {"title": pa.string(), "year": pa.string()},
        "values": {"title": "", "year": ""},
    }


def test_ragged_rows_cost_themselves(tmp_path: Path) -> None:
    """Too few and too many fields are named; the other rows keep their own columns."""
    path = write(tmp_path / "m.csv", "id,image,t\n1,a.jpg,x\n2,b.jpg\n3,c.jpg,y,z\n4,d.jpg,w\n")
    items = items_of(path)
    assert problems(items) == [None, "m.csv:3: 2 fields, the header has 3", "m.csv:4: 4 fields, the header has 3", None]
    assert [extras_of(items[index])["values"]["t"] for index in (0, 3)] == ["x", "w"]
    assert len(set(ids(items))) == 4


def test_names_in_a_header_are_trimmed_and_an_empty_one_is_numbered(tmp_path: Path) -> None:
    """White space after a comma, and the nameless index column of pandas."""
    path = write(tmp_path / "m.csv", ",id , image\n0,x,a.jpg\n")
    with open_manifest(ManifestSettings(str(path))) as manifest:
        assert manifest.columns == ("column_1", "id", "image")
        [[item]] = manifest.batches()
    assert (item.item_id, item.images[0].source) == ("x", "a.jpg")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "the manifest is empty"),
        ("\n\n", "the manifest is empty"),
        ("id,image\n", "no rows"),
        ("id,image\n\n \n", "no rows"),
        ("id,image,id\n1,a,2\n", 'column "id" stands twice'),
        ("id,Image\n1,a\n", 'no column "image" for the images; there are: id, Image'),
        ("id,\0image\n1,a\n", "m.csv:1: the header cannot be read: holds a NUL"),
        ('"id,image\n', "m.csv:1: the header cannot be read: a quoted field"),
        (",".join(map(str, range(MAX_COLUMNS + 1))) + "\n", f"{MAX_COLUMNS + 1} columns"),
    ],
    ids=lambda value: value[:12],
)
def test_a_csv_file_without_rows_or_with_a_wrong_header_is_an_error(tmp_path: Path, content: str, said: str) -> None:
    """Never no rows and success."""
    with pytest.raises(ManifestError, match=said):
        items_of(write(tmp_path / "m.csv", content))


def test_lists_in_csv_are_separated_as_set(tmp_path: Path) -> None:
    """By a bar, or by what the settings say; the id is hashed from the references of the list."""
    path = write(tmp_path / "m.tsv", "image\ta.b\nx.jpg|y.jpg\tq\n")
    [item] = items_of(path)
    assert sources([item]) == [["x.jpg", "y.jpg"]]
    assert item.item_id == sha256(b"x.jpg\ny.jpg").hexdigest()[:16]
    assert sources(items_of(path, list_separator=".")) == [["x", "jpg|y", "jpg"]]


def test_ids_are_equal_over_all_formats(tmp_path: Path) -> None:
    """The same images have the same id in csv, jsonl and txt."""
    csv = write(tmp_path / "m.csv", "image\na b.jpg\n")
    txt = write(tmp_path / "m.txt", "a b.jpg\n")
    found = [ids(items_of(path)) for path in (csv, txt, jsonl(tmp_path / "m.jsonl", {"image": ["a b.jpg"]}))]
    assert found == [[sha256(b"a b.jpg").hexdigest()[:16]]] * 3


def test_jsonl_rows_keep_their_types(tmp_path: Path) -> None:
    """Numbers, booleans, lists and objects arrive in the dataset as what they are."""
    path = jsonl(tmp_path / "m.jsonl", {"id": 7, "image": "a", "n": 1, "ok": True, "tags": ["x"], "box": {"w": 0.5}})
    [item] = items_of(path)
    assert (item.item_id, item.place, item.columns["box"]) == ("7", "m.jsonl:1", {"w": 0.5})
    assert extras_of(item) == {
        "types": {
            "n": pa.int64(),
            "ok": pa.bool_(),
            "tags": pa.list_(pa.string()),
            "box": pa.struct({"w": pa.float64()}),
        },
        "values": {"n": 1, "ok": True, "tags": ["x"], "box": {"w": 0.5}},
    }


def test_a_number_and_its_text_are_one_id(tmp_path: Path) -> None:
    """`1` and `"1"` come back as the text that the dataset holds; other kinds of ids fail."""
    rows = [{"id": value, "image": "a"} for value in (1, "1", "01", 1.0, None, True, [1])]
    items = items_of(jsonl(tmp_path / "m.jsonl", *rows, {"image": "a"}))
    assert ids(items)[:3] == ["1", "1", "01"]
    assert [item.problem is None for item in items] == [True] * 3 + [False] * 5
    assert all(item.problem is None or item.problem.error_type == "invalid_request_error" for item in items)


def test_torn_rows_cost_themselves_in_the_midst_of_typed_ones(tmp_path: Path) -> None:
    """Good rows keep their own columns, whatever stands between them."""
    path = write(tmp_path / "m.jsonl", '{"image":"a","n":1}\n{"image":"b","n"\n\n7\n{"image":"c","n":3}\n{"im')
    items = items_of(path)
    assert [item.place for item in items] == [f"m.jsonl:{line}" for line in (1, 2, 4, 5, 6)]
    assert [item.problem is None for item in items] == [True, False, False, True, False]
    assert [extras_of(items[index])["values"] for index in (0, 3)] == [{"n": 1}, {"n": 3}]


def test_columns_of_later_batches_are_carried(tmp_path: Path) -> None:
    """A column that is null at first and one that comes late are typed when they are known."""
    rows = [{"image": f"{n}", "late": None} for n in range(1000)] + [{"image": "x", "late": 1.5, "new": "y"}] * 2
    path = jsonl(tmp_path / "m.jsonl", *rows)
    items = items_of(path)
    assert extras_of(items[0]) == {"types": {"late": pa.null()}, "values": {"late": None}}
    assert extras_of(items[1000]) == {
        "types": {"late": pa.float64(), "new": pa.string()},
        "values": {"late": 1.5, "new": "y"},
    }


@pytest.mark.parametrize(("rows", "complete"), [(999, True), (1001, False)])
def test_jsonl_says_whether_its_columns_are_all_known(tmp_path: Path, rows: int, complete: bool) -> None:
    """After the first batch of a longer file, a column may still come."""
    path = jsonl(tmp_path / "m.jsonl", *[{"image": "a", "t": 1}] * rows)
    with open_manifest(ManifestSettings(str(path))) as manifest:
        assert manifest.columns == ("image", "t")
        assert manifest.columns_complete is complete


def test_a_jsonl_file_of_nothing_but_bad_rows_fails_row_by_row(tmp_path: Path) -> None:
    """Each is named; no column is known, so none is missed."""
    path = write(tmp_path / "m.jsonl", "{\n[1]\nnull\n")
    with open_manifest(ManifestSettings(str(path))) as manifest:
        assert not manifest.columns_complete
        [batch] = manifest.batches()
    assert [str(item.problem)[:10] for item in batch] == ["m.jsonl:1:", "m.jsonl:2:", "m.jsonl:3:"]


def test_a_jsonl_file_whose_rows_have_no_image_column_is_an_error(tmp_path: Path) -> None:
    """It is told before anything is sent."""
    with pytest.raises(ManifestError, match=r'm\.jsonl: no column "image" for the images; there are: id, picture'):
        items_of(jsonl(tmp_path / "m.jsonl", {"id": 1, "picture": "a"}))


def test_names_that_no_file_can_hold_cost_their_row(tmp_path: Path) -> None:
    """Half a surrogate pair in a key, however deep, ends no run."""
    rows = [{"image": "a", "\ud800": 1}, {"image": "b", "t": {"\ud800": 1}}, {"image": "c", "t": {"x": 1}}]
    items = items_of(jsonl(tmp_path / "m.jsonl", *rows))
    assert problems(items)[0] == "m.jsonl:1: a name holds half a surrogate pair, which no file can hold"
    assert [item.problem for item in items[1:]] == [None, None]
    assert extras_of(items[1])["values"] == {"t": '{"\\ud800": 1}'}


def test_ever_new_columns_cost_their_rows_beyond_a_bound(tmp_path: Path) -> None:
    """A key that differs from row to row does not make the memory grow with the manifest."""
    half = MAX_COLUMNS // 2
    first = {"image": "a", **{f"a{number}": 1 for number in range(half)}}
    second = {"image": "b", **{f"b{number}": 1 for number in range(half)}}
    items = items_of(jsonl(tmp_path / "m.jsonl", first, second, {"image": "c", "a1": 2}))
    assert problems(items) == [
        None,
        f"m.jsonl:2: brings the manifest to more than {MAX_COLUMNS} different columns",
        None,
    ]


def test_text_alone_needs_no_image_column(tmp_path: Path) -> None:
    """With no image columns the text is all there is, and an image column is like any other."""
    [item] = items_of(jsonl(tmp_path / "m.jsonl", {"id": "x", "text": "hello", "image": "a"}), image_columns=())
    assert (item.images, item.problem, item.columns["text"]) == ((), None, "hello")
    assert extras_of(item)["values"] == {"text": "hello", "image": "a"}


def test_txt_lines_are_images_named_by_their_hash(tmp_path: Path) -> None:
    """One reference a line, never split, and bad lines named."""
    items = items_of(write(tmp_path / "m.txt", b"a|b.jpg\r\n\n\xff\nc.jpg"))
    assert sources(items) == [["a|b.jpg"], [], ["c.jpg"]]
    assert [item.place for item in items] == ["m.txt:1", "m.txt:3", "m.txt:4"]
    assert problems(items)[1] == "m.txt:3: not UTF-8 at byte 1 of the line"
    assert all(item.extras is None for item in items)


def test_large_rows_make_small_batches(tmp_path: Path) -> None:
    """Inline images are not gathered by the thousand."""
    row = json.dumps({"id": "x", "image": "data:image/png;base64," + "A" * 1_000_000}) + "\n"
    path = write(tmp_path / "m.jsonl", row * 40)
    with open_manifest(ManifestSettings(str(path))) as manifest:
        assert [len(batch) for batch in manifest.batches()] == [17, 17, 6]
