"""`pipeline files`."""

from typing import Literal

import anyio

from pipeline.commands.saying import say
from pipeline.config import load_config
from pipeline.engines.filing import delete_uploads, list_uploads
from pipeline.engines.plan import plan_run
from pipeline.faces.logs import secrets_of, set_up_logs
from pipeline.faces.plain import counted

__all__ = ["files_command"]


def files_command(config: str, overrides: tuple[str, ...], verb: Literal["list", "delete"]) -> int:
    """Lists what runs have uploaded, or deletes it."""
    settings = load_config(config, overrides)
    set_up_logs("text", None, secrets_of(settings))
    plan = plan_run(settings)
    if verb == "list":
        found = list_uploads(plan)
        lines = [f"{file.file_id}  {f'until {file.expires_at:%Y-%m-%d}' if file.expires_at else ''}" for file in found]
        say("\n".join([*(line.rstrip() for line in lines), counted(len(found), "file")]))
        return 0
    done = anyio.run(delete_uploads, plan)
    say(f"{counted(done.deleted, 'file')} deleted, {done.gone:,} gone before")
    return 0
