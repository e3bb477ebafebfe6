"""Uploaded files in the journal: found again by the next run, and never in the way of anything else."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.api.files import UploadedFile
from pipeline.store.dataset import open_dataset
from pipeline.store.identity import DatasetSettings, RunIdentity
from pipeline.store.ledger import open_ledger
from pipeline.store.uploads import Uploads

pytestmark = pytest.mark.anyio
ENDS = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
HERE, THERE = "https://api.example.org", "https://other.example.org"


async def test_the_next_run_knows_what_this_one_uploaded(tmp_path: Path) -> None:
    """By hash and service; a later upload takes the place of an earlier one."""
    settings = DatasetSettings(tmp_path)
    with open_dataset(settings) as journal:
        async with open_ledger(journal, settings, RunIdentity("run-1", "f")) as ledger:
            uploads = Uploads(ledger, HERE)
            assert await uploads.recall("aa") is None
            await uploads.remember("aa", UploadedFile("file_1"))
            await uploads.remember("aa", UploadedFile("file_2", ENDS))
            await uploads.remember("bb", UploadedFile("file_3"))
    with open_dataset(settings) as journal:
        async with open_ledger(journal, settings, RunIdentity("run-2", "f")) as ledger:
            assert await Uploads(ledger, HERE).recall("aa") == UploadedFile("file_2", ENDS)
            assert await Uploads(ledger, HERE).recall("bb") == UploadedFile("file_3")
            assert await Uploads(ledger, THERE).recall("aa") is None


async def test_looking_leaves_no_trace(tmp_path: Path) -> None:
    """A run that uploads nothing writes nothing."""
    settings = DatasetSettings(tmp_path)
    with open_dataset(settings) as journal:
        async with open_ledger(journal, settings, RunIdentity("run-1", "f")) as ledger:
            assert await Uploads(ledger, HERE).recall("aa") is None
            assert not ledger.has_written
