"""Images inside tar files, as WebDataset keeps them: `shards/000.tar#cat.jpg` is the member `cat.jpg` of that file.

What stands before the first `.tar#` is a path, under the same roots as any other, or the URL of an object (see
`object_tars`); what stands behind it is the member's name, exactly as the tar has it. The tar is read through once for
the places of its members, and each member is then read by its place alone. Only plain members are read: no links, no
sparse files, and no compressed tars, which have no places to read from. A name that stands twice means the last one, as
it does for tar itself.
"""

import re
import tarfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from io import BufferedIOBase
from pathlib import Path

from pipeline.errors import ErrorType, ImageError
from pipeline.images.local import LocalFile, legible, opened_local

__all__ = ["Indexes", "Place", "TarReader", "place_of", "places_of", "tar_member"]

_MEMBER = re.compile(r"(.+?\.tar)#(.+)", re.DOTALL | re.IGNORECASE)
_KEPT_MEMBERS = 200_000
"""Places that are remembered over all tars; about 200 bytes each. The newest tar is kept whatever it has."""
_MOST_HEADER_BYTES = 1_000_000
"""A header of extended attributes is read whole; real ones have some hundred bytes."""

Place = tuple[int, int] | None
"""Where a member begins and how long it is, in bytes; `None` for a link or a sparse file."""


def tar_member(source: str) -> tuple[str, str] | None:
    """The path of a tar and the name of its member, or `None` for any other reference."""
    found = _MEMBER.fullmatch(source)
    return (found[1], found[2]) if found else None


class TarReader:
    """Reads members for one run, from worker threads.

    Args:
        root: where relative paths start (resolved).
        allow_roots: further folders that paths may lead into (resolved).
        max_bytes: of one member.
    """

    def __init__(self, root: Path, allow_roots: Sequence[Path], max_bytes: int) -> None:
        self._root = root
        self._allow_roots = allow_roots
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._indexes = Indexes()

    def read(self, path: str, member: str) -> bytes:
        """The bytes of a member.

        Raises:
            ImageError: as for local files; `image_missing` and `image_refused` for members that are not there or are
                no plain files, `image_corrupt` for what is no tar or changed while it was read.
        """
        name = legible(f"{path}#{member}")
        with opened_local(path, self._root, self._allow_roots) as tar:
            raw = tar.read(name, *place_of(member, self._index(tar, name), name, self._max_bytes))
            tar.ensure_unchanged(name)
        return raw

    def _index(self, tar: LocalFile, name: str) -> dict[str, Place]:
        """The places of the members; made once for each state of each file, one file at a time."""
        state = tar.state
        key = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)
        with self._lock:
            index = self._indexes.get(key)
            if index is None:
                index = places_of(lambda offset, size: tar.read("tar", offset, size), state.st_size, name)
                self._indexes.put(key, index)
        return index


class Indexes:
    """The members of the tars that were used last, so many that memory stays bounded."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, dict[str, Place]] = OrderedDict()

    def get(self, key: Hashable) -> dict[str, Place] | None:
        """The members of a tar, `None` where they are not known."""
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def put(self, key: Hashable, places: dict[str, Place]) -> None:
        """Keeps the members of a tar; forgets those of others, as many as it takes."""
        self._kept[key] = places
        while len(self._kept) > 1 and sum(map(len, self._kept.values())) > _KEPT_MEMBERS:
            self._kept.popitem(last=False)

    def forget(self, key: Hashable) -> None:
        """The members of a tar are not known any more."""
        self._kept.pop(key, None)


def place_of(member: str, places: dict[str, Place], name: str, max_bytes: int) -> tuple[int, int]:
    """Where a member begins and how long it is.

    Raises:
        ImageError: it is not there, is no plain file, or too large.
    """
    if member not in places:
        raise ImageError(ErrorType.IMAGE_MISSING, f"{name}: the tar has no such member")
    place = places[member]
    if place is None:
        raise ImageError(ErrorType.IMAGE_REFUSED, f"{name}: a link or a special member, not a plain file")
    if place[1] > max_bytes:
        raise ImageError(ErrorType.IMAGE_TOO_LARGE, f"{name}: {place[1]} bytes; images.max_bytes allows {max_bytes}")
    return place


def places_of(read: Callable[[int, int], bytes], size: int, name: str) -> dict[str, Place]:
    """The members of a tar of so many bytes; `read` gives those of an offset and a length.

    Raises:
        ImageError: `image_corrupt`, and what `read` raises.
    """
    places: dict[str, Place] = {}
    try:
        with tarfile.TarFile(fileobj=_Reading(read, size)) as opened:
            while (member := opened.next()) is not None:
                plain = member.isreg() and not member.issparse()
                if not member.isdir():
                    places[member.name] = (member.offset_data, member.size) if plain else None
                opened.members = []  # type: ignore[attr-defined]  # or it would keep an object for each
    except (tarfile.TarError, OSError, ValueError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ImageError(ErrorType.IMAGE_CORRUPT, f"{name}: the tar cannot be read: {reason}") from error
    return places


class _Reading(BufferedIOBase):
    """As much of a file as `tarfile` needs; no header can make it read more than a header is worth."""

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read = read
        self._size = size
        self._place = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes.

        Raises:
            tarfile.ReadError: more is asked for than any header takes.
        """
        if size is None or not 0 <= size <= _MOST_HEADER_BYTES:
            raise tarfile.ReadError("a header larger than headers are")
        size = max(0, min(size, self._size - self._place))
        found = self._read(self._place, size)
        self._place += len(found)
        return found

    def tell(self) -> int:
        """Where it stands."""
        return self._place

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Goes to a place, counted from the start."""
        if whence != 0:
            raise ValueError("only places from the start are known")
        self._place = offset
        return offset
