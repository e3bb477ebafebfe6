"""A database that exists only while it is open: for what would not fit in memory and nobody needs afterwards.

It is unlinked as soon as it is open, so it has no name that anybody could guess or follow, and goes with the process.
"""

import os
import sqlite3
import tempfile
from pathlib import Path

from pipeline.errors import OutputError

__all__ = ["scratch_database"]


def scratch_database(folder: Path, table: str) -> sqlite3.Connection:
    """An unnamed SQLite database in this folder with one table, outside of any transaction; for any one thread.

    Raises:
        OutputError: the folder cannot be written, or has no room.
    """
    try:
        handle, name = tempfile.mkstemp(dir=folder, prefix=".scratch-")
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror}") from error
    os.close(handle)
    try:
        database = sqlite3.connect(name, isolation_level=None, check_same_thread=False)
        try:
            database.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;")
            database.execute(table)
        except BaseException:
            database.close()
            raise
    except sqlite3.Error as error:
        raise OutputError(f"{folder}: a list cannot be kept there: {error}; make room, then run again") from error
    finally:
        Path(name).unlink()
    return database
