"""What was uploaded to the service, remembered in the journal from run to run, by the hash of its bytes.

The table is made by the first upload, so that the journal of a run without any has none. A journal that is made anew
has forgotten it, and the images are uploaded once more: uploads are free.
"""

import sqlite3
from datetime import datetime

from pipeline.api.files import UploadedFile
from pipeline.store.journal import Journal
from pipeline.store.ledger import Ledger

__all__ = ["Uploads", "forget_upload", "uploads_at"]

_TABLE = """
CREATE TABLE IF NOT EXISTS uploads (
    sha256 TEXT NOT NULL, place TEXT NOT NULL, file_id TEXT NOT NULL, expires_at TEXT,
    PRIMARY KEY (sha256, place)) WITHOUT ROWID
"""


class Uploads:
    """The files of one service.

    Args:
        ledger: writes them down.
        place: the base URL that they were uploaded to.
    """

    def __init__(self, ledger: Ledger, place: str) -> None:
        self._ledger = ledger
        self._place = place

    async def recall(self, sha256: str) -> UploadedFile | None:
        """The file with these bytes."""
        found: UploadedFile | None = await self._ledger.ask(lambda journal: self._known(journal, sha256))
        return found

    async def remember(self, sha256: str, file: UploadedFile) -> None:
        """Keeps a file in the place of what was known; durable when this returns.

        Raises:
            OutputError: it could not be written.
        """
        ends = file.expires_at.isoformat() if file.expires_at else None

        def keep(journal: Journal) -> None:
            connection = journal.database.connection
            connection.execute(_TABLE)
            row = (sha256, self._place, file.file_id, ends)
            connection.execute("INSERT OR REPLACE INTO uploads VALUES (?, ?, ?, ?)", row)

        await self._ledger.keep(keep)

    def _known(self, journal: Journal, sha256: str) -> UploadedFile | None:
        connection = journal.database.connection
        query = "SELECT file_id, expires_at FROM uploads WHERE sha256=? AND place=?"
        try:
            found = connection.execute(query, (sha256, self._place)).fetchone()
        except sqlite3.OperationalError:
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name='uploads'").fetchone():
                raise
            return None  # nothing was uploaded yet
        return UploadedFile(found[0], datetime.fromisoformat(found[1]) if found[1] else None) if found else None


def uploads_at(journal: Journal, place: str) -> list[UploadedFile]:
    """Every file that is remembered of one service."""
    connection = journal.database.connection
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name='uploads'").fetchone():
        return []
    found = connection.execute("SELECT file_id, expires_at FROM uploads WHERE place=? ORDER BY file_id", (place,))
    return [UploadedFile(name, datetime.fromisoformat(ends) if ends else None) for name, ends in found]


def forget_upload(journal: Journal, place: str, file_id: str) -> None:
    """The file is gone from the service; durable when this returns."""
    with journal.transaction():
        journal.database.connection.execute("DELETE FROM uploads WHERE place=? AND file_id=?", (place, file_id))
