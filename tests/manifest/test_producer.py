"""Which manifest is opened, by path and format, and what is told before anything is sent."""

import json
import os
import subprocess
import sys
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import obstore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.buckets import environment, filled_bucket
from support.manifests import ids, items_of, problems, sources, write, write_parquet

from pipeline.errors import ManifestError
from pipeline.manifest.objects import ObjectStores, ObjectUrl
from pipeline.manifest.producer import ManifestSettings, open_manifest

HEAD = """
import sys
from pathlib import Path
from pipeline.manifest.producer import *

def most_kb():  # not getrusage, which counts the parent's memory before exec too
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])

"""


def run_python(program: str, stdin: bytes, *arguments: str) -> str:
    """What a program in a process of its own prints; its standard input is a pipe."""
    done = subprocess.run(
        [sys.executable, "-c", HEAD + program, *arguments],
        input=stdin,
        capture_output=True,
        timeout=100,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@pytest.mark.parametrize("name", ["m.CSV", "m.jsonl", "m.ndjson", "m.TSV", "m.txt", "m.pq", "m.parquet", "m.feather"])
def test_the_suffix_tells_the_format(tmp_path: Path, name: str) -> None:
    """In either case of letters."""
    content = {"m.CSV": "image\na.jpg\n", "m.TSV": "image\tt\na.jpg\tx\n", "m.txt": "a.jpg\n"}
    path = tmp_path / name
    if name in ("m.pq", "m.parquet"):
        write_parquet(path, {"image": ["a.jpg"]})
    elif name == "m.feather":
        with pa.ipc.new_file(str(path), pa.schema({"image": pa.string()})) as file:
            file.write_table(pa.table({"image": ["a.jpg"]}))
    else:
        write(path, content.get(name, '{"image": "a.jpg"}\n'))
    assert sources(items_of(path)) == [["a.jpg"]]


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real S3 server, as the environment names it."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("stores")
@pytest.mark.parametrize("name", ["m.csv", "m.jsonl", "m.txt", "m.pq", "m.feather", "m.arrows"])
def test_an_object_is_read_as_the_file_that_it_is(tmp_path: Path, name: str) -> None:
    """Every format gives the items that it gives on disk, with the object's folder as the root."""
    images = [f"{number:04}.jpg" for number in range(2500)]
    table = pa.table({"image": images, "id": [f"item {number}" for number in range(2500)]})
    path = tmp_path / name
    if name == "m.pq":
        pq.write_table(table, path, row_group_size=400)
    elif name.startswith(("m.feather", "m.arrows")):
        new = pa.ipc.new_file if name == "m.feather" else pa.ipc.new_stream
        with new(str(path), table.schema) as file:
            file.write_table(table, max_chunksize=400)
    else:
        lines = [f"{row['image']},{row['id']}" for row in table.to_pylist()]
        text = {"m.csv": "\n".join(["image,id", *lines]), "m.txt": "\n".join(images)}
        write(path, text.get(name) or "\n".join(json.dumps(row) for row in table.to_pylist()))
    form = "arrow" if name == "m.arrows" else "auto"
    url = filled_bucket(f"manifest-{name.replace('.', '-')}", {f"deep/er/{name}": path.read_bytes()})
    with open_manifest(ManifestSettings(f"{url}/deep/er/{name}", form)) as far:
        items = [item for batch in far.batches() for item in batch]
        assert far.root == ObjectUrl.parse(f"{url}/deep/er/")
    near = items_of(path, format=form)
    assert [(item.item_id, item.place) for item in items] == [(item.item_id, item.place) for item in near]
    assert len(items) == 2500
    assert items[7].images[0].source == "0007.jpg"


@pytest.mark.usefixtures("stores")
def test_a_prefix_is_a_manifest_of_its_images() -> None:
    """As a folder is: relative paths, ids that do not tell the bucket, and nothing beside the prefix."""
    objects = {f"p/{name}": b"x" for name in ("b.PNG", "a.jpg", "deep/c.webp", "note.txt")}
    url = filled_bucket("prefixed", objects | {"p2/d.jpg": b"x"})
    with open_manifest(ManifestSettings(f"{url}/p/")) as manifest:
        items = [item for batch in manifest.batches() for item in batch]
        assert manifest.root == ObjectUrl.parse(f"{url}/p/")
    assert sorted(sources(items)) == [["a.jpg"], ["b.PNG"], ["deep/c.webp"]]
    assert ids(items)[sources(items).index(["a.jpg"])] == sha256(b"a.jpg").hexdigest()[:16]
    with pytest.raises(ManifestError, match="the manifest has no rows: no image file"):
        open_manifest(ManifestSettings(f"{url}/empty/"))


@pytest.mark.usefixtures("stores")
def test_what_is_not_in_the_bucket_is_told_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """No such object, no such bucket, a store that does not answer: in one line each, with the URL."""
    url = filled_bucket("nearly-empty", {"a.csv": b"image\n"})
    for path, reason in (
        (f"{url}/none.csv", "cannot be read: no such object"),
        ("s3://there-is-no-such-bucket/m.csv", "cannot be read: no such object"),
        ("s3://there-is-no-such-bucket/p/", "cannot be listed"),
        (f"{url}/a.csv", "the manifest has no rows"),
    ):
        with pytest.raises(ManifestError, match=reason) as caught:
            open_manifest(ManifestSettings(path))
        assert str(caught.value).startswith(path)
        assert "\n" not in str(caught.value)
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(ManifestError, match=r"az://container/m\.csv: az://container: cannot be opened"):
        open_manifest(ManifestSettings("az://container/m.csv"))


@pytest.mark.usefixtures("stores")
@pytest.mark.parametrize("name", ["m.csv", "m.pq"])
def test_a_manifest_that_is_replaced_while_it_is_read_is_an_error(tmp_path: Path, name: str) -> None:
    """Never a mixture of the two; what was read before stands."""
    path = tmp_path / name
    images = [f"{number:064}" for number in range(200_000)]
    if name == "m.pq":
        pq.write_table(
            pa.table({"image": images}), path, row_group_size=40_000, compression="none", use_dictionary=False
        )
    else:
        write(path, "image\n" + "\n".join(images))
    url = filled_bucket(f"replaced-{name.replace('.', '-')}", {name: path.read_bytes()})
    with open_manifest(ManifestSettings(f"{url}/{name}")) as manifest:
        batches = manifest.batches()
        assert len(next(batches)) > 0
        obstore.put(ObjectStores().store(ObjectUrl.parse(url)), name, path.read_bytes() + b"\nlast")
        with pytest.raises(ManifestError, match="replaced while it was read"):
            for _ in batches:
                pass


def test_the_format_goes_before_the_suffix(tmp_path: Path) -> None:
    """A table may have any name."""
    path = write(tmp_path / "m.data", "image\na.jpg\n")
    with pytest.raises(ManifestError, match=r"the suffix tells no format; allowed: \.arrow, \.csv"):
        items_of(path)
    assert sources(items_of(path, format="csv")) == [["a.jpg"]]


def test_a_folder_is_a_manifest_of_relative_paths(tmp_path: Path) -> None:
    """The id is hashed from the path relative to the folder, which is the root and the place."""
    write(tmp_path / "p" / "x" / "a.jpg", b"1")
    write(tmp_path / "p" / "b.JPG", b"2")
    with open_manifest(ManifestSettings(str(tmp_path / "p"))) as manifest:
        assert (manifest.root, manifest.columns, manifest.columns_complete) == (tmp_path / "p", ("image",), True)
        [items] = manifest.batches()
    assert sources(items) == [["b.JPG"], ["x/a.jpg"]]
    assert ids(items) == [sha256(name).hexdigest()[:16] for name in (b"b.JPG", b"x/a.jpg")]
    assert [item.place for item in items] == ["b.JPG", "x/a.jpg"]


def test_a_glob_is_relative_to_its_fixed_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids do not depend on the folder that the command was started in."""
    write(tmp_path / "p" / "x" / "a.jpg", b"1")
    absolute = items_of(tmp_path / "p" / "*" / "*.jpg")
    monkeypatch.chdir(tmp_path)
    with open_manifest(ManifestSettings("p/*/*.jpg")) as manifest:
        assert manifest.root == tmp_path / "p"
        [relative] = manifest.batches()
    assert sources(relative) == [["x/a.jpg"]]
    assert ids(relative) == ids(absolute) == [sha256(b"x/a.jpg").hexdigest()[:16]]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    """What exists is meant; the format can still say that it is a pattern."""
    path = write(tmp_path / "photos[1].csv", "image\na.jpg\n")
    write(tmp_path / "photos1.csv", "x")
    assert sources(items_of(path)) == [["a.jpg"]]
    assert sources(items_of(path, format="glob")) == [["photos1.csv"]]


def test_relative_images_start_beside_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or at the working directory, where the manifest comes through a pipe."""
    write(tmp_path / "d" / "m.txt", "a.jpg")
    monkeypatch.chdir(tmp_path)
    with open_manifest(ManifestSettings("d/m.txt")) as manifest:
        assert manifest.root == tmp_path / "d"
    with open_manifest(ManifestSettings("-"), BytesIO(b'{"image": "a"}')) as manifest:
        assert manifest.root == tmp_path


@pytest.mark.parametrize(
    ("path", "settings", "said"),
    [
        ("gone.csv", {}, "gone.csv: no such manifest .working directory: "),
        ("gone", {"format": "directory"}, "gone: no such manifest"),
        ("m.csv/x.csv", {}, "no such manifest"),
        ("m.csv", {"format": "directory"}, 'm.csv: not a directory, and manifest.format = "directory"'),
        ("full", {"format": "csv"}, 'full: a directory, and manifest.format = "csv"'),
        ("empty", {}, "empty: the manifest has no rows: no image file .*.jpg"),
        ("empty/*.jpg", {}, "the manifest has no rows: no image file"),
        ("nowhere/**/*.jpg", {}, "nowhere/.*: no such folder: nowhere"),
        ("blank.txt", {}, "blank.txt: the manifest has no rows"),
        ("blank.jsonl", {}, "blank.jsonl: the manifest has no rows"),
        ("https://host/m.csv?sig=1", {}, r"https://host/m.csv\?\*\*\*: manifests are read from disk and from buckets"),
        ("s3://user@host/m.csv", {}, 's3://user@host/m.csv: allowed: such as "s3://bucket/key"'),
        ("s3://bucket/m.doc", {}, 'the suffix tells no format; allowed: .*, or "/" at the end for a prefix'),
        ("s3://bucket/*.csv", {"format": "glob"}, 'in a bucket allowed: an object, or a prefix with "/"'),
        ("s3://bucket/p/", {"format": "csv"}, 's3://bucket/p/: a prefix, and manifest.format = "csv"'),
        ("s3://bucket/m.csv", {"format": "directory"}, 'not a prefix, and manifest.format = "directory"'),
        ("-", {"format": "glob"}, "standard input, and manifest.format"),
        ("x" * 300 + ".csv", {}, "cannot be read: File name too long"),
        ("a\0b.csv", {}, "cannot be read: embedded null byte"),
        ("m.txt", {"image_columns": ("a", "b")}, 'no column "b" for the images; there are: a'),
    ],
)
def test_what_cannot_be_a_manifest_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, settings: dict[str, str], said: str
) -> None:
    """The message names the path and what is wrong with it."""
    monkeypatch.chdir(tmp_path)
    write(Path("m.csv"), "image\na\n")
    write(Path("m.txt"), "a\n")
    write(Path("blank.txt"), "\n \n")
    write(Path("blank.jsonl"), "")
    write(Path("full/a.jpg"), "")
    Path("empty").mkdir()
    with pytest.raises(ManifestError, match=said):
        open_manifest(ManifestSettings(path, **settings))  # type: ignore[arg-type]


def test_a_manifest_that_may_not_be_read_is_an_error(tmp_path: Path) -> None:
    """A table that is a link to itself stands for what the system refuses to open."""
    (tmp_path / "m.csv").symlink_to("m.csv")
    with pytest.raises(ManifestError, match="cannot be read: Too many levels of symbolic links"):
        items_of(tmp_path / "m.csv")


def open_files() -> int:
    """How many this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_the_file_is_closed_with_the_manifest(tmp_path: Path) -> None:
    """Whether it was read to its end or not, and where opening failed."""
    before = open_files()
    parquet = write_parquet(tmp_path / "m.parquet", {"image": ["a"] * 5000})
    text = write(tmp_path / "m.csv", "image\n" + "a\n" * 5000)
    opened = [open_manifest(ManifestSettings(str(path))) for path in (parquet, text)]
    assert open_files() == before + 2
    for manifest in opened:
        with manifest:
            next(iter(manifest.batches()))
    with pytest.raises(ManifestError):
        open_manifest(ManifestSettings(str(text), image_columns=("x",)))
    assert open_files() == before


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "txt", "parquet", "arrow", "stream"])
def test_every_table_can_come_through_a_pipe(kind: str) -> None:
    """Formats that must be sought in are copied to a temporary file; the rows are all there."""
    count = 3000
    names = [f"{number}.jpg" for number in range(count)]
    table, sink = pa.table({"image": names}), BytesIO()
    if kind == "parquet":
        pq.write_table(table, sink)
    elif kind in ("arrow", "stream"):
        with (pa.ipc.new_file if kind == "arrow" else pa.ipc.new_stream)(sink, table.schema) as file:
            file.write_table(table)
    elif kind == "jsonl":
        sink.write("".join(f'{{"image": "{name}"}}\n' for name in names).encode())
    else:
        sink.write("\n".join([*([] if kind == "txt" else ["image"]), *names]).encode())
    program = (
        "with open_manifest(ManifestSettings('-', sys.argv[1])) as manifest:\n"
        "    items = [item for batch in manifest.batches() for item in batch]\n"
        "print(len(items), items[0].images[0].source, items[-1].images[0].source, items[0].place)\n"
    )
    said = run_python(program, sink.getvalue(), "arrow" if kind == "stream" else kind)
    assert said.startswith(f"{count} 0.jpg {count - 1}.jpg standard input")


def test_standard_input_is_jsonl_by_default_and_says_so_otherwise() -> None:
    """Csv through a pipe is one clear error, not a failure for every row."""
    assert sources(items_of("-", b'\xef\xbb\xbf\n {"image": "a.jpg"}\n')) == [["a.jpg"]]
    with pytest.raises(ManifestError, match=r"does not begin as jsonl, which is assumed; set manifest.format"):
        items_of("-", b"id,image\n1,a.jpg\n")
    with pytest.raises(ManifestError, match="-: the manifest has no rows"):
        items_of("-", b"")
    assert len(problems(items_of("-", b"id\nx\n", format="jsonl"))) == 2


MEMORY = """
import json
import pyarrow as pa, pyarrow.parquet as pq

def rows(count):
    for number in range(count):
        image = f"photos/{number % 1000}/{number}.jpg"
        yield {"id": f"item-{number:08d}", "image": image, "title": "t" * 60, "n": number}

def made(path, count):
    if path.suffix == ".parquet":
        with pq.ParquetWriter(path, pa.schema({"id": pa.string(), "image": pa.string(), "title": pa.string()})) as file:
            for start in range(0, count, 20_000):
                names = [f"item-{number:08d}" for number in range(start, min(count, start + 20_000))]
                file.write_table(pa.table({"id": names, "image": names, "title": names}))
    else:
        with path.open("w") as file:
            if path.suffix == ".csv":
                file.write("id,image,title,n\\n")
            for row in rows(count):
                file.write(json.dumps(row) if path.suffix == ".jsonl" else ",".join(map(str, row.values())))
                file.write("\\n")
    return path

def read(path):
    from hashlib import blake2b
    from pipeline.manifest.seen import SeenItems
    count = 0
    with open_manifest(ManifestSettings(str(path))) as manifest, SeenItems(path.parent) as seen:
        for batch in manifest.batches():
            count += len(seen.passing([(blake2b(i.item_id.encode(), digest_size=16).digest(), i) for i in batch]))
    return count

folder, suffix = Path(sys.argv[1]), sys.argv[2]
small, large = made(folder / f"small{suffix}", 15_000), made(folder / f"large{suffix}", 150_000)
assert read(small) == 15_000
before = most_kb()
assert read(large) == 150_000
print(before, most_kb())
"""


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_memory_does_not_grow_with_the_manifest(tmp_path: Path, suffix: str) -> None:
    """Ten times the rows, ids remembered, need less than half as much memory again."""
    before, after = map(int, run_python(MEMORY, b"", str(tmp_path), suffix).split())
    assert after < 1.5 * before


BOMB = """
with open_manifest(ManifestSettings(sys.argv[1])) as manifest:
    for number, batch in enumerate(manifest.batches()):
        if number == 20:
            break
print(most_kb())
"""


def bomb(path: Path) -> Path:
    """A text of a megabyte in every row; a long and an endless field; half a million lists, an endless line."""
    if path.suffix == ".parquet":
        text = pa.DictionaryArray.from_arrays(pa.array([0] * 3000, pa.int32()), ["x" * 1_000_000])
        columns = {"image": ["a.jpg"] * 3000, "t": text}
        write_parquet(path, columns, dictionary_pagesize_limit=2_000_000, store_schema=False, write_statistics=False)
        assert path.stat().st_size < 100_000
        return path
    if path.suffix == ".csv":
        return write(path, 'image,t\na.jpg,"' + "x" * 31_000_000 + '"\nb.jpg,"' + "\n" * 200_000 + "y" * 90_000_000)
    return write(path, '{"image": "a.jpg", "t": [' + "[1]," * 499_000 + '1]}\n{"image": "' + "x" * 60_000_000)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_manifest_that_is_larger_than_it_looks_stays_within_500_mb(tmp_path: Path, suffix: str) -> None:
    """What unfolds to gigabytes is read in pieces, and what has no end is cut off."""
    assert int(run_python(BOMB, b"", str(bomb(tmp_path / f"bomb{suffix}")))) < 500_000
