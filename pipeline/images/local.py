"""Local files, inside the roots: opened first, judged after, so that nothing can change between the two.

Where the system has them, a path is first opened as a mere handle (`O_PATH`): that touches neither devices nor FIFOs,
which would act or hang. The handle is asked what it is and where it lies (`/proc/self/fd`), and the very same file is
then opened for reading through it. Elsewhere the path is opened without blocking, and compared by device and inode
with where it resolves to. Symbolic links are thereby followed to where they really lead, and refused where that is
outside.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from pipeline.errors import ErrorType, ImageError

__all__ = ["LocalFile", "legible", "open_by_handle", "open_by_path", "opened_local", "path_of", "read_local"]

_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_HANDLE = getattr(os, "O_PATH", 0)
_DESCRIPTORS = Path("/proc/self/fd")
_LONGEST = 300

Opener = Callable[[Path], tuple[int, Path]]


def legible(source: str, longest: int = _LONGEST) -> str:
    """A reference as messages show it: printable on one line, cut to a readable length."""
    text = source if len(source) <= longest else f"{source[: longest - 3]}..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def path_of(source: str, root: Path) -> Path:
    """The path that a manifest's reference means: relative ones start at `root`, `file:` URLs are local paths.

    Raises:
        ImageError: the reference cannot be a path.
    """
    text = source
    if source[:5].lower() == "file:":
        try:
            parts = urlsplit(source)
            text = os.fsdecode(unquote_to_bytes(parts.path))
        except ValueError:
            raise ImageError(ErrorType.IMAGE_REFUSED, f"{legible(source)}: not a valid URL") from None
        if parts.netloc.lower() not in ("", "localhost"):
            raise ImageError(ErrorType.IMAGE_REFUSED, f"{legible(source)}: file URLs of another host are not read")
    if "\0" in text:
        raise ImageError(ErrorType.IMAGE_MISSING, f"{legible(source)}: no path holds a NUL")
    return root / text


def read_local(
    source: str, root: Path, allow_roots: Sequence[Path], max_bytes: int, opener: Opener | None = None
) -> bytes:
    """The bytes of a regular file under `root` or one of `allow_roots` (all resolved).

    Args:
        source: as the manifest has it.
        root: where relative paths start.
        allow_roots: further folders that paths may lead into.
        max_bytes: of the file.
        opener: how files are opened; by default the safest way that the system has.

    Raises:
        ImageError: `image_missing`; `image_refused` for what lies outside, is no regular file or may not be read;
            `image_too_large`, before reading; `image_corrupt` where the file changed while it was read.
    """
    with opened_local(source, root, allow_roots, opener) as file:
        name = legible(source)
        if file.state.st_size > max_bytes:
            raise ImageError(
                ErrorType.IMAGE_TOO_LARGE, f"{name}: {file.state.st_size} bytes; images.max_bytes allows {max_bytes}"
            )
        raw = file.read(name)
        file.ensure_unchanged(name)
    return raw


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A regular file inside the roots, open.

    Attributes:
        fd: for reading, without blocking.
        state: of the file as it was opened.
    """

    fd: int
    state: os.stat_result

    def read(self, name: str, offset: int = 0, size: int | None = None) -> bytes:
        """So many bytes from a place on; by default all that the file had when it was opened.

        Raises:
            ImageError: `image_corrupt`: it cannot be read, or ends before.
        """
        left = self.state.st_size if size is None else size
        chunks = []
        try:
            while left and (chunk := os.pread(self.fd, left, offset)):
                chunks.append(chunk)
                left -= len(chunk)
                offset += len(chunk)
        except OSError as error:
            text = f"{name}: cannot be read: {error.strerror}"
            raise ImageError(ErrorType.IMAGE_CORRUPT, text, retryable=True) from error
        if left:
            raise _changed(name)
        return b"".join(chunks)

    def ensure_unchanged(self, name: str) -> None:
        """What was read is the file as it was opened.

        Raises:
            ImageError: `image_corrupt`: it changed since.
        """
        after = os.fstat(self.fd)
        if (self.state.st_size, self.state.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise _changed(name)


@contextmanager
def opened_local(
    source: str, root: Path, allow_roots: Sequence[Path], opener: Opener | None = None
) -> Iterator[LocalFile]:
    """A regular file under `root` or one of `allow_roots` (all resolved), open while the context lasts.

    Raises:
        ImageError: `image_missing`; `image_refused` for what lies outside, is no regular file or may not be read.
    """
    path, name = path_of(source, root), legible(source)
    with _opened(path, name, opener or _OPENER) as (fd, real):
        if not any(real.is_relative_to(allowed) for allowed in (root, *allow_roots)):
            raise ImageError(
                ErrorType.IMAGE_REFUSED,
                f"{name}: leads outside manifest.root; add its folder to manifest.allow_roots to allow it",
            )
        state = os.fstat(fd)
        if not stat.S_ISREG(state.st_mode):
            raise ImageError(ErrorType.IMAGE_REFUSED, f"{name}: a {_kind(state.st_mode)}, not a regular file")
        with _readable(fd, name) as reading:
            yield LocalFile(reading, state)


def open_by_handle(path: Path) -> tuple[int, Path]:
    """A handle that reads nothing yet, and where the file lies; for systems with `O_PATH` and `/proc`."""
    handle = os.open(path, _HANDLE | os.O_CLOEXEC)
    try:
        return handle, (_DESCRIPTORS / str(handle)).readlink()
    except BaseException:
        os.close(handle)
        raise


def open_by_path(path: Path) -> tuple[int, Path]:
    """A descriptor, opened without blocking, and where the file lies; for every system."""
    fd = os.open(path, _READ)
    try:
        real = path.resolve()
        same = os.path.samestat(real.stat(), os.fstat(fd))
    except BaseException:
        os.close(fd)
        raise
    if not same:
        os.close(fd)
        raise OSError(errno.ESTALE, "it changed while it was opened")
    return fd, real


_OPENER: Opener = open_by_handle if _HANDLE and _DESCRIPTORS.is_dir() else open_by_path


@contextmanager
def _opened(path: Path, name: str, opener: Opener) -> Iterator[tuple[int, Path]]:
    try:
        fd, real = opener(path)
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a loop, as some releases of pathlib say it
        raise _cannot_open(name, error) from None
    try:
        yield fd, real
    finally:
        os.close(fd)


@contextmanager
def _readable(fd: int, name: str) -> Iterator[int]:
    """The very file behind a handle, opened for reading; the descriptor itself where it can be read."""
    if not fcntl.fcntl(fd, fcntl.F_GETFL) & _HANDLE:
        yield fd
        return
    try:
        reading = os.open(_DESCRIPTORS / str(fd), _READ)
    except OSError as error:
        raise _cannot_open(name, error) from None
    try:
        yield reading
    finally:
        os.close(reading)


def _changed(name: str) -> ImageError:
    return ImageError(ErrorType.IMAGE_CORRUPT, f"{name}: the file changed while it was read")


def _cannot_open(name: str, error: Exception) -> ImageError:
    code = getattr(error, "errno", None)
    if code in (errno.ENOENT, errno.ENOTDIR):
        return ImageError(ErrorType.IMAGE_MISSING, f"{name}: no such file")
    if code == errno.ELOOP or isinstance(error, RuntimeError):
        return ImageError(ErrorType.IMAGE_REFUSED, f"{name}: a loop of symbolic links")
    if code in (errno.EACCES, errno.EPERM):
        return ImageError(ErrorType.IMAGE_REFUSED, f"{name}: no permission to read it")
    if code in (errno.ENXIO, errno.ENODEV, errno.EOPNOTSUPP):
        return ImageError(ErrorType.IMAGE_REFUSED, f"{name}: a socket or device, not a regular file")
    if code in (errno.EMFILE, errno.ENFILE):
        return ImageError(ErrorType.IMAGE_MISSING, f"{name}: too many open files; raise ulimit -n", retryable=True)
    if code in (errno.ENAMETOOLONG, errno.EINVAL) or not isinstance(error, OSError):
        return ImageError(ErrorType.IMAGE_MISSING, f"{name}: cannot be a path")
    return ImageError(ErrorType.IMAGE_MISSING, f"{name}: {error.strerror or error}", retryable=True)


def _kind(mode: int) -> str:
    kinds = [
        (stat.S_ISDIR, "directory"),
        (stat.S_ISFIFO, "named pipe"),
        (stat.S_ISSOCK, "socket"),
        (stat.S_ISCHR, "character device"),
        (stat.S_ISBLK, "block device"),
    ]
    return next((word for test, word in kinds if test(mode)), "special file")
