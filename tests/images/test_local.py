"""Local files: what is read, what is refused, and that nothing hangs or leads outside."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ErrorType, ImageError
from pipeline.images.local import legible, open_by_handle, open_by_path, read_local

Opener = Callable[[Path], tuple[int, Path]]
OPENERS = [open_by_path, *([open_by_handle] if Path("/proc/self/fd").is_dir() else [])]
LIMIT = 1000


@pytest.fixture(params=OPENERS, ids=lambda opener: opener.__name__)
def opener(request: pytest.FixtureRequest) -> Opener:
    """Each of the two ways in which files are opened."""
    chosen: Opener = request.param
    return chosen


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with one picture in it, and a secret beside it."""
    (tmp_path / "secret.jpg").write_bytes(b"outside")
    root = tmp_path / "root"
    (root / "deep").mkdir(parents=True)
    (root / "a.jpg").write_bytes(b"inside")
    return root.resolve()


def refusal(source: str, root: Path, opener: Opener, *allow: Path) -> ImageError:
    """The error that reading ends with."""
    with pytest.raises(ImageError) as caught:
        read_local(source, root, allow, LIMIT, opener)
    return caught.value


@pytest.mark.parametrize(
    "source", ["a.jpg", "./deep/../a.jpg", "file:a.jpg", "FILE:a%2Ejpg", "{root}/a.jpg", "file://{root}/a.jpg"]
)
def test_a_file_inside_is_read(root: Path, opener: Opener, source: str) -> None:
    """Relative and absolute paths and file URLs reach a picture under the root."""
    assert read_local(source.format(root=root), root, (), LIMIT, opener) == b"inside"


@pytest.mark.parametrize(
    "source",
    ["../secret.jpg", "deep/../../secret.jpg", "{root}/../secret.jpg", "file:../secret.jpg", "file:%2e%2e/secret.jpg"],
)
def test_a_path_out_of_the_root_is_refused(root: Path, opener: Opener, source: str) -> None:
    """Nothing beside the root is read, however the path is written; the message says what would allow it."""
    error = refusal(source.format(root=root), root, opener)
    assert error.error_type == ErrorType.IMAGE_REFUSED
    assert "manifest.allow_roots" in str(error)


def test_a_link_is_judged_by_where_it_leads(root: Path, opener: Opener) -> None:
    """A link to a file outside, or through a folder outside, is refused; one to a file inside is followed."""
    (root / "out.jpg").symlink_to(root.parent / "secret.jpg")
    (root / "up").symlink_to(root.parent)
    (root / "in.jpg").symlink_to("a.jpg")
    assert refusal("out.jpg", root, opener).error_type == ErrorType.IMAGE_REFUSED
    assert refusal("up/secret.jpg", root, opener).error_type == ErrorType.IMAGE_REFUSED
    assert read_local("in.jpg", root, (), LIMIT, opener) == b"inside"


def test_a_further_root_may_be_read(root: Path, opener: Opener) -> None:
    """`manifest.allow_roots` opens exactly the folders that it names, not their neighbours of a similar name."""
    other = root.parent / "other"
    for folder in (other, root.parent / "other-2", root.parent / "root-2"):
        folder.mkdir()
        (folder / "b.jpg").write_bytes(b"other")
    assert read_local("../other/b.jpg", root, [other.resolve()], LIMIT, opener) == b"other"
    assert refusal("../other-2/b.jpg", root, opener, other.resolve()).error_type == ErrorType.IMAGE_REFUSED
    assert refusal("../root-2/b.jpg", root, opener).error_type == ErrorType.IMAGE_REFUSED


def test_a_loop_of_links_ends(root: Path, opener: Opener) -> None:
    """Links that lead to each other are refused by name."""
    (root / "one").symlink_to("two")
    (root / "two").symlink_to("one")
    error = refusal("one", root, opener)
    assert error.error_type == ErrorType.IMAGE_REFUSED
    assert "loop" in str(error)


@pytest.mark.timeout(10)
def test_a_pipe_neither_hangs_nor_is_read(root: Path, opener: Opener) -> None:
    """A FIFO without a writer, which would block a plain open for ever, is refused."""
    os.mkfifo(root / "pipe.jpg")
    error = refusal("pipe.jpg", root, opener)
    assert error.error_type == ErrorType.IMAGE_REFUSED
    assert "named pipe" in str(error)


@pytest.mark.skipif(open_by_handle not in OPENERS, reason="the system has no handles that open nothing")
def test_a_pipe_is_not_even_opened(root: Path) -> None:
    """Judging a FIFO is invisible to whoever waits to write into it."""
    os.mkfifo(root / "pipe.jpg")
    handle, _ = open_by_handle(root / "pipe.jpg")
    with pytest.raises(OSError, match="No such device or address"):  # ENXIO: nobody reads
        os.open(root / "pipe.jpg", os.O_WRONLY | os.O_NONBLOCK)
    os.close(handle)


def test_a_socket_is_refused(root: Path, opener: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Unix socket is no picture."""
    monkeypatch.chdir(root)  # the address of a socket must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s.jpg")
        error = refusal("s.jpg", root, opener)
    assert error.error_type == ErrorType.IMAGE_REFUSED
    assert "socket" in str(error)


@pytest.mark.parametrize("source", ["", ".", "deep"])
def test_a_folder_is_refused(root: Path, opener: Opener, source: str) -> None:
    """A directory, the root itself among them, is no picture."""
    error = refusal(source, root, opener)
    assert error.error_type == ErrorType.IMAGE_REFUSED
    assert "directory" in str(error)


def test_a_device_is_refused(root: Path, opener: Opener) -> None:
    """An endless device gives no byte, with its folder among the roots as well."""
    for allow in ((), (Path("/dev"),)):
        error = refusal("/dev/zero", root, opener, *allow)
        assert error.error_type == ErrorType.IMAGE_REFUSED
    assert "character device" in str(error)


@pytest.mark.parametrize("source", ["b.jpg", "a.jpg/b.jpg", "no/such/b.jpg", "{root}/b.jpg", "a" * 300 + ".jpg"])
def test_a_missing_file_is_missing(root: Path, opener: Opener, source: str) -> None:
    """What is not there, or could not be, is a failure that names the path and waits for the user."""
    error = refusal(source.format(root=root), root, opener)
    assert error.error_type == ErrorType.IMAGE_MISSING
    assert not error.retryable


@pytest.mark.parametrize("source", ["a\0.jpg", "file:a%00.jpg"])
def test_a_nul_cannot_be_in_a_path(root: Path, opener: Opener, source: str) -> None:
    """A NUL ends as a missing image with a printable message, not as a crash or a shorter path."""
    error = refusal(source, root, opener)
    assert error.error_type == ErrorType.IMAGE_MISSING
    assert "\0" not in str(error)


@pytest.mark.parametrize("source", ["file://[bad", "file://elsewhere/a.jpg"])
def test_a_file_url_of_another_host_is_refused(root: Path, opener: Opener, source: str) -> None:
    """File URLs are local; others, and malformed ones, are refused."""
    assert refusal(source, root, opener).error_type == ErrorType.IMAGE_REFUSED


def test_a_name_that_is_not_utf_8_is_read(root: Path, opener: Opener) -> None:
    """Names of arbitrary bytes work as paths and as file URLs, and their messages can be printed."""
    try:
        (root / os.fsdecode(b"\xff\xe9.jpg")).write_bytes(b"bytes")
    except OSError:
        pytest.skip("the file system takes UTF-8 names alone")
    assert read_local(os.fsdecode(b"\xff\xe9.jpg"), root, (), LIMIT, opener) == b"bytes"
    assert read_local("file:%ff%e9.jpg", root, (), LIMIT, opener) == b"bytes"
    str(refusal(os.fsdecode(b"\xfe.jpg"), root, opener)).encode()


def test_the_size_is_judged_before_reading(root: Path, opener: Opener) -> None:
    """The limit itself is allowed; a sparse file of 10 GB above it is refused by its size."""
    (root / "fits.jpg").write_bytes(b"x" * LIMIT)
    with (root / "huge.jpg").open("wb") as file:
        file.truncate(10 * 2**30)
    assert len(read_local("fits.jpg", root, (), LIMIT, opener)) == LIMIT
    error = refusal("huge.jpg", root, opener)
    assert error.error_type == ErrorType.IMAGE_TOO_LARGE
    assert str(LIMIT) in str(error)


def test_a_file_without_permission_is_refused(root: Path, opener: Opener) -> None:
    """What this user may not read is refused, and says so."""
    (root / "a.jpg").chmod(0)
    if os.access(root / "a.jpg", os.R_OK):
        pytest.skip("this user may read everything")
    error = refusal("a.jpg", root, opener)
    assert error.error_type == ErrorType.IMAGE_REFUSED
    assert "permission" in str(error)


def test_a_file_that_changes_while_it_is_opened_is_one_file(root: Path, opener: Opener) -> None:
    """A path that is swapped for a link to the outside between look and reading gives the file that was judged."""

    def swapping(path: Path) -> tuple[int, Path]:
        opened = opener(path)
        path.unlink()
        path.symlink_to(root.parent / "secret.jpg")
        return opened

    assert read_local("a.jpg", root, (), LIMIT, swapping) == b"inside"


@pytest.mark.parametrize("mode", ["ab", "wb", "r+b"])
def test_a_file_that_changes_while_it_is_read_is_a_failure(root: Path, opener: Opener, mode: str) -> None:
    """A file that somebody writes to in the middle of reading never passes as a whole picture."""
    os.utime(root / "a.jpg", ns=(0, 0))  # clocks of file systems are coarse

    class Changing(int):
        """A limit that is compared after the file was judged: the moment at which another process writes."""

        def __lt__(self, size: int) -> bool:
            with (root / "a.jpg").open(mode) as file:
                file.write(b"INSIDE" if mode == "r+b" else b"more")
            return int(self) < size

    with pytest.raises(ImageError) as caught:
        read_local("a.jpg", root, (), Changing(LIMIT), opener)
    assert caught.value.error_type == ErrorType.IMAGE_CORRUPT


def test_no_descriptor_is_left_open(root: Path, opener: Opener) -> None:
    """Reading and refusing close what they opened."""
    (root / "loop").symlink_to("loop")

    def open_now() -> int:
        return len(list(Path("/dev/fd").iterdir()))

    before = open_now()
    for _ in range(5):
        read_local("a.jpg", root, (), LIMIT, opener)
        for source in ("../secret.jpg", "deep", "loop", "none"):
            refusal(source, root, opener)
    assert open_now() == before


@given(st.text(max_size=60) | st.text(alphabet="./~%2ef:\\\0aé\udcff", max_size=60))
@settings(deadline=None, max_examples=200)
def test_no_reference_leads_outside_or_crashes(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Whatever a manifest says, nothing is read below an empty root, and the failure can be printed."""
    root = tmp_path_factory.getbasetemp().resolve() / "empty"
    root.mkdir(exist_ok=True)
    with pytest.raises(ImageError) as caught:
        read_local(text, root, (), LIMIT)
    assert str(caught.value).isprintable()
    str(caught.value).encode()


def test_messages_stay_on_one_line() -> None:
    """Escape codes and line breaks in names are written out, long names are cut."""
    assert legible("a\x1b[31m\nb\udcff.jpg") == "a\\x1b[31m\\nb\\udcff.jpg"
    assert len(legible("a" * 1000)) == 300
