"""What runs have uploaded to the Files API: listed, and deleted at the service and in the journal, one by one."""

import random
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

import anyio

from pipeline.api.files import UploadedFile
from pipeline.api.messages import parse_error
from pipeline.api.retry import AttemptFailedError, Verdict, judge, retrying
from pipeline.api.transport import Session, Unanswered, open_session
from pipeline.engines.plan import RunPlan
from pipeline.errors import ConfigError, RunStoppedError
from pipeline.store.dataset import open_dataset
from pipeline.store.journal import Journal
from pipeline.store.uploads import forget_upload, uploads_at

__all__ = ["Deleted", "delete_uploads", "list_uploads"]

_AT_ONCE = 4
"""The service takes about 500 such requests a minute."""


@dataclass(slots=True)
class Deleted:
    """Files that were deleted now, and files that the service did not have any more."""

    deleted: int = 0
    gone: int = 0


def list_uploads(plan: RunPlan) -> list[UploadedFile]:
    """What the journal remembers of this configuration's service.

    Raises:
        OutputError: the output cannot be opened.
        OutputHeldError: a run holds it.
    """
    with open_dataset(plan.dataset) as journal:
        return uploads_at(journal, plan.config.api.base_url)


async def delete_uploads(plan: RunPlan) -> Deleted:
    """Deletes them; what is done stays done wherever it stops.

    Raises:
        ConfigError: the endpoint is the embedded one, whose files go with each run.
        OutputHeldError: a run holds the output.
        RunStoppedError: the service refuses, or does not answer.
    """
    if plan.is_embedded:
        raise ConfigError('api.base_url: found "embedded", whose files go with each run; allowed: a server\'s address')
    place = plan.config.api.base_url
    result = Deleted()
    limiter = anyio.CapacityLimiter(_AT_ONCE)
    failures: list[RunStoppedError] = []
    with open_dataset(plan.dataset) as journal:
        async with open_session(plan.endpoint(place), _AT_ONCE) as session, anyio.create_task_group() as tasks:

            async def delete(file: UploadedFile) -> None:
                async with limiter:
                    if not failures:
                        try:
                            await _delete(session, journal, place, file, result, plan)
                        except RunStoppedError as error:
                            failures.append(error)

            for file in uploads_at(journal, place):
                tasks.start_soon(delete, file)
    if failures:
        raise failures[0]
    return result


async def _delete(  # noqa: PLR0913, PLR0917 - one step of `delete_uploads`
    session: Session, journal: Journal, place: str, file: UploadedFile, result: Deleted, plan: RunPlan
) -> None:
    loop = retrying(plan.config.retry, random.Random())  # noqa: S311 - jitter, no secret
    try:
        async for attempt in loop:
            with attempt:
                found = await _once(session, file)
    except AttemptFailedError as error:
        said = f"{error.verdict.error_type}: {error.verdict.message}"
        raise RunStoppedError(f"DELETE /v1/files/{file.file_id}: {said}") from error
    forget_upload(journal, place, file.file_id)
    result.deleted += found
    result.gone += not found


async def _once(session: Session, file: UploadedFile) -> bool:
    """Whether the file was there."""
    try:
        reply = await session.delete(f"/v1/files/{quote(file.file_id, safe='')}")
    except Unanswered as error:
        raise AttemptFailedError(Verdict.unanswered(error.error_type, str(error))) from error
    if reply.status in (200, 404):
        return reply.status == 200
    raise AttemptFailedError(
        judge(reply.status, parse_error(reply.body, reply.status), reply.headers, datetime.now(UTC))
    )
