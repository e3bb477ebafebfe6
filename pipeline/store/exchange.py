"""Two folders that change places in one step: `renameat2(RENAME_EXCHANGE)` of Linux, `renamex_np` of macOS.

Python has no call for it, so the C library is asked. Where neither it nor the file system knows how, nothing is done.
"""

import ctypes
import errno
import os
from pathlib import Path

__all__ = ["exchange"]

_HERE = -100
_EXCHANGE = 2


def exchange(one: Path, other: Path) -> None:
    """Two entries of one file system change places; nobody sees a moment between.

    Raises:
        OSError: the system cannot, or may not; nothing has changed then.
    """
    library = ctypes.CDLL(None, use_errno=True)
    first, second = os.fsencode(one), os.fsencode(other)
    if hasattr(library, "renameat2"):
        failed = library.renameat2(_HERE, first, _HERE, second, _EXCHANGE)
    elif hasattr(library, "renamex_np"):
        failed = library.renamex_np(first, second, _EXCHANGE)
    else:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), str(one))
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(one))
