"""Local files, inside the roots: opened first, judged after, so that nothing can change between the two.

The file is opened without blocking (a FIFO with no writer would hang) and without becoming a terminal; then the opened
file itself is asked what it is and where it lies (`/proc/self/fd`, else the resolved path compared by device and
inode). Symbolic links are thereby followed to where they really lead, and refused where that is outside.
"""

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipeline.errors import ErrorType, ImageError

__all__ = ["path_of", "read_local"]

_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_MISSING = {errno.ENOENT, errno.ENOTDIR}
_MISSPELT = {errno.ENAMETOOLONG, errno.EINVAL}


def path_of(source: str, root: Path) -> Path:
    """The path that a manifest's reference means: relative ones start at `root`, `file://` URLs are local paths.

    Raises:
        ImageError: the reference cannot be a path.
    """
    text = source
    if source.lower().startswith("file:"):
        parts = urlsplit(source)
        if parts.netloc not in ("", "localhost"):
            raise ImageError(ErrorType.IMAGE_REFUSED, f"{_short(source)}: file URLs of another host are not read")
        text = unquote(parts.path)
    if "\0" in text:
        raise ImageError(ErrorType.IMAGE_MISSING, f"{_short(source)!r}: no path holds a NUL")
    return root / text


def read_local(source: str, root: Path, allow_roots: Sequence[Path], max_bytes: int) -> bytes:
    """The bytes of a regular file under `root` or one of `allow_roots` (both resolved).

    Raises:
        ImageError: `image_missing`; `image_refused` for what lies outside, is no regular file or may not be read;
            `image_too_large`, before reading; `image_corrupt` where the file changed while it was read.
    """
    path = path_of(source, root)
    name = _short(source)
    try:
        fd = os.open(path, _OPEN)
    except (OSError, ValueError, UnicodeError) as error:
        raise _cannot_open(name, error) from None
    with os.fdopen(fd, "rb", buffering=0) as file:
        before = os.fstat(fd)
        _check_place(name, fd, path, (root, *allow_roots))
        if not stat.S_ISREG(before.st_mode):
            raise ImageError(ErrorType.IMAGE_REFUSED, f"{name}: a {_kind(before.st_mode)}, not a regular file")
        if before.st_size > max_bytes:
            raise ImageError(
                ErrorType.IMAGE_TOO_LARGE, f"{name}: {before.st_size} bytes; images.max_bytes allows {max_bytes}"
            )
        try:
            raw = _read(file.fileno(), max_bytes)
        except OSError as error:
            raise ImageError(ErrorType.IMAGE_CORRUPT, f"{name}: {error.strerror}", retryable=True) from error
        after = os.fstat(fd)
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or len(raw) != before.st_size:
        raise ImageError(ErrorType.IMAGE_CORRUPT, f"{name}: the file changed while it was read", retryable=True)
    return raw


def _read(fd: int, max_bytes: int) -> bytes:
    chunks, total = [], 0
    while total <= max_bytes and (chunk := os.read(fd, 1 << 20)):
        chunks.append(chunk)
        total += len(chunk)
    return b"".join(chunks)


def _check_place(name: str, fd: int, path: Path, roots: Sequence[Path]) -> None:
    try:
        real = Path(os.readlink(f"/proc/self/fd/{fd}"))
    except OSError:
        real = Path(os.path.realpath(path))
        found, opened = os.stat(real), os.fstat(fd)
        if (found.st_dev, found.st_ino) != (opened.st_dev, opened.st_ino):
            raise ImageError(ErrorType.IMAGE_REFUSED, f"{name}: changed while it was opened") from None
    if not any(real.is_relative_to(root) for root in roots):
        raise ImageError(
            ErrorType.IMAGE_REFUSED,
            f"{name}: leads outside manifest.root; add its folder to manifest.allow_roots to allow it",
        )


def _cannot_open(name: str, error: Exception) -> ImageError:
    code = getattr(error, "errno", None)
    if code in _MISSING:
        return ImageError(ErrorType.IMAGE_MISSING, f"{name}: no such file")
    if code == errno.ELOOP:
        return ImageError(ErrorType.IMAGE_REFUSED, f"{name}: a loop of symbolic links")
    if code in (errno.EACCES, errno.EPERM):
        return ImageError(ErrorType.IMAGE_REFUSED, f"{name}: no permission to read it")
    if code in (errno.ENXIO, errno.ENODEV):
        return ImageError(ErrorType.IMAGE_REFUSED, f"{name}: a socket or device, not a regular file")
    if code in (errno.EMFILE, errno.ENFILE):
        return ImageError(ErrorType.IMAGE_MISSING, f"{name}: too many open files; raise ulimit -n", retryable=True)
    if code in _MISSPELT or not isinstance(error, OSError):
        return ImageError(ErrorType.IMAGE_MISSING, f"{name}: cannot be a path")
    return ImageError(ErrorType.IMAGE_MISSING, f"{name}: {getattr(error, 'strerror', error)}", retryable=True)


def _kind(mode: int) -> str:
    kinds = [
        (stat.S_ISDIR, "directory"),
        (stat.S_ISFIFO, "named pipe"),
        (stat.S_ISSOCK, "socket"),
        (stat.S_ISCHR, "character device"),
        (stat.S_ISBLK, "block device"),
    ]
    return next((word for test, word in kinds if test(mode)), "special file")


def _short(source: str) -> str:
    return source if len(source) <= 300 else f"{source[:297]}..."
