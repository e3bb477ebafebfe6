"""Members of tar files: read by their place, under the same roots, plain files alone."""

import io
import os
import struct
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pictures import encoded, quadrants

from pipeline.errors import ErrorType, ImageError
from pipeline.images.tars import TarReader, tar_member

PICTURE = encoded(quadrants(), "PNG")


def _tar(path: Path, members: dict[str, bytes], **options: object) -> Path:
    with tarfile.open(path, "w", **options) as tar:  # type: ignore[call-overload]
        for name, body in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(body)
            tar.addfile(entry, io.BytesIO(body))
    return path


def _reader(root: Path, max_bytes: int = 100_000) -> TarReader:
    return TarReader(root.resolve(), (), max_bytes)


def _failure(reader: TarReader, path: str, member: str) -> ImageError:
    with pytest.raises(ImageError) as caught:
        reader.read(path, member)
    return caught.value


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("shards/000.tar#a.jpg", ("shards/000.tar", "a.jpg")),
        ("/x/0.TAR#dir/a b#c.jpg", ("/x/0.TAR", "dir/a b#c.jpg")),
        ("a.tar#b.tar#c.jpg", ("a.tar", "b.tar#c.jpg")),
        ("a.tar#", None),
        (".tar#a", None),
        ("a.tar.gz#b.jpg", None),
        ("photo#1.jpg", None),
    ],
)
def test_the_first_tar_and_its_mark_part_the_reference(source: str, parts: tuple[str, str] | None) -> None:
    """A path that ends in .tar, a mark, and a name; anything else is an ordinary reference."""
    assert tar_member(source) == parts


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_read_by_name(tmp_path: Path, kind: int) -> None:
    """Long names, folders and other letters than ASCII, in each dialect of tar, give the member's own bytes."""
    names = ["a.jpg", f"{'deep/' * 18}b.jpg", "0001.jpg", "é ü#?.png"] + ["x" * 180] * (kind != tarfile.USTAR_FORMAT)
    members = {name: name.encode() * 50 for name in names}
    _tar(tmp_path / "0.tar", {**members, "empty": b""}, format=kind)
    reader = _reader(tmp_path)
    for name, body in members.items():
        assert reader.read("0.tar", name) == body
        assert reader.read(str(tmp_path / "0.tar"), name) == body
    assert reader.read("0.tar", "empty") == b""


def test_the_last_of_two_members_of_one_name_counts(tmp_path: Path) -> None:
    """As tar itself has it, what was appended later replaces what stands before."""
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for body in (b"old", b"newer"):
            entry = tarfile.TarInfo("a")
            entry.size = len(body)
            tar.addfile(entry, io.BytesIO(body))
    assert _reader(tmp_path).read("0.tar", "a") == b"newer"


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE]
)
def test_links_and_special_members_are_refused(tmp_path: Path, kind: bytes) -> None:
    """A member that stands for something else is not followed, wherever it leads."""
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        entry = tarfile.TarInfo("a.jpg")
        entry.type, entry.linkname = kind, "/etc/passwd"
        tar.addfile(entry)
    error = _failure(_reader(tmp_path), "0.tar", "a.jpg")
    assert error.error_type == ErrorType.IMAGE_REFUSED


def test_failures_name_tar_and_member(tmp_path: Path) -> None:
    """No such tar, no such member, a folder, one too large: each by its own type."""
    _tar(tmp_path / "0.tar", {"a.jpg": bytes(2000)})
    (tmp_path / "d.tar").mkdir()
    reader = _reader(tmp_path, 1999)
    found = {
        name: _failure(reader, *name)
        for name in (
            ("1.tar", "a.jpg"),
            ("0.tar", "b.jpg"),
            ("0.tar", "./a.jpg"),
            ("0.tar", "a.jpg"),
            ("d.tar", "a.jpg"),
        )
    }
    assert [str(error.error_type) for error in found.values()] == [
        "image_missing",
        "image_missing",
        "image_missing",
        "image_too_large",
        "image_refused",
    ]
    assert "0.tar#b.jpg" in str(found["0.tar", "b.jpg"])


def test_tars_outside_the_roots_are_refused(tmp_path: Path) -> None:
    """By way of `..`, an absolute path or a link, a tar outside is not opened; under an allowed folder it is."""
    root = tmp_path / "root"
    root.mkdir()
    outside = _tar(tmp_path / "0.tar", {"a.jpg": PICTURE})
    (root / "link.tar").symlink_to(outside)
    for path in ("../0.tar", str(outside), "link.tar"):
        assert _failure(_reader(root), path, "a.jpg").error_type == ErrorType.IMAGE_REFUSED
    allowed = TarReader(root.resolve(), (tmp_path.resolve(),), 100_000)
    assert allowed.read("link.tar", "a.jpg") == PICTURE


@pytest.mark.parametrize("raw", [b"", b"not a tar at all" * 99, bytes(100)], ids=["empty", "text", "zeros"])
def test_what_is_no_tar_is_corrupt_or_holds_nothing(tmp_path: Path, raw: bytes) -> None:
    """Other bytes by that name give an image error."""
    (tmp_path / "0.tar").write_bytes(raw)
    assert _failure(_reader(tmp_path), "0.tar", "a").error_type in (ErrorType.IMAGE_CORRUPT, ErrorType.IMAGE_MISSING)


def test_a_compressed_tar_is_corrupt(tmp_path: Path) -> None:
    """Compressed, a tar has no places to read from, whatever it is called."""
    with tarfile.open(tmp_path / "0.tar", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("a"))
    assert _failure(_reader(tmp_path), "0.tar", "a").error_type == ErrorType.IMAGE_CORRUPT


def test_a_header_that_claims_gigabytes_is_not_read(tmp_path: Path) -> None:
    """Extended attributes of 3 GB, in a file that has the room, cost no memory."""
    entry = tarfile.TarInfo("pax")
    entry.type, entry.size = tarfile.XHDTYPE, 3_000_000_000
    with (tmp_path / "0.tar").open("wb") as file:
        file.write(entry.tobuf(tarfile.USTAR_FORMAT))
        file.truncate(3_000_010_240)
    error = _failure(_reader(tmp_path), "0.tar", "a")
    assert error.error_type == ErrorType.IMAGE_CORRUPT
    assert "header" in str(error)


def test_a_tar_that_is_written_anew_is_indexed_anew(tmp_path: Path) -> None:
    """Places of the old file are never used on the new one."""
    reader = _reader(tmp_path)
    _tar(tmp_path / "0.tar", {"a": b"first", "b": b"second"})
    assert reader.read("0.tar", "b") == b"second"
    _tar(tmp_path / "0.tar", {"b": b"x" * 5000, "a": b"other"})
    assert reader.read("0.tar", "b") == b"x" * 5000


def test_a_cut_tar_gives_what_is_whole(tmp_path: Path) -> None:
    """Members before the cut are read; the torn one is an image error, not a short picture."""
    whole = _tar(tmp_path / "0.tar", {"a": b"1" * 2000, "b": b"2" * 9000}).read_bytes()
    (tmp_path / "0.tar").write_bytes(whole[:6000])
    assert _failure(_reader(tmp_path), "0.tar", "b").error_type == ErrorType.IMAGE_CORRUPT


def test_many_threads_read_many_tars(tmp_path: Path) -> None:
    """Eight threads over five tars get the bytes that they asked for."""
    expected = {}
    for shard in range(5):
        members = {f"{index}": os.urandom(500) for index in range(40)}
        _tar(tmp_path / f"{shard}.tar", members)
        expected |= {(f"{shard}.tar", name): body for name, body in members.items()}
    reader = _reader(tmp_path)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda place: reader.read(*place), expected))
    assert found == list(expected.values())


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_garbled_tars_are_image_errors(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever is changed in the headers, reading gives bytes or an image error, and never more than is allowed."""
    folder = tmp_path_factory.mktemp("garbled")
    raw = bytearray(_tar(folder / "0.tar", {"a": b"1" * 600, "b/" + "x" * 150: b"2" * 600}).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.sampled_from([0, 124, 136, 148, 156, 512, 1536, 1660, 2560, 3072])) + data.draw(
            st.integers(0, 11)
        )
        raw[start] = data.draw(st.integers(0, 255))
    header = raw[:512]
    checksum = sum(header[:148]) + 8 * 32 + sum(header[156:])
    raw[148:156] = struct.pack("8s", f"{checksum:06o}\0 ".encode())
    (folder / "0.tar").write_bytes(raw)
    try:
        assert len(_reader(folder, 1000).read("0.tar", "a")) <= 1000
    except ImageError:
        pass
