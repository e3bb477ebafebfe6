"""`pipeline batches`."""

import json
from datetime import UTC, datetime
from typing import Any, Literal

import anyio

from pipeline.commands.saying import say
from pipeline.config import load_config
from pipeline.engines.batches.account import InFlight, cancel_batches, list_batches
from pipeline.engines.plan import plan_run
from pipeline.faces.logs import secrets_of, set_up_logs
from pipeline.faces.plain import counted

__all__ = ["batches_command"]

_UNKNOWN = "creation not confirmed"


def batches_command(config: str, overrides: tuple[str, ...], verb: Literal["list", "cancel"], *, as_json: bool) -> int:
    """Lists what is in flight, or has it end early."""
    settings = load_config(config, overrides)
    set_up_logs("text", None, secrets_of(settings))
    plan = plan_run(settings)
    found = anyio.run(list_batches if verb == "list" else cancel_batches, plan)
    if as_json:
        say(json.dumps({"batches": [_as_dict(each) for each in found]}))
        return 0
    lines = [_line(each) for each in found]
    items = sum(each.record.items for each in found)
    said = f"{len(found):,} {'batch' if len(found) == 1 else 'batches'}, {counted(items, 'item')} without a result"
    if found:
        said += "; run the configuration again to collect them (counts come with a batch's end)"
    say("\n".join([*lines, said]))
    return 0


def _line(each: InFlight) -> str:
    record, state = each.record, each.state
    if record.batch_id is None:
        return f"{_UNKNOWN:<40}  {record.items:>7,} items"
    status = state.status if state is not None else "not known to the service any more"
    age = datetime.now(UTC) - (record.intended_at or datetime.now(UTC))
    text = f"{record.batch_id:<40}  {record.items:>7,} items  {status:<12}  {str(age).split('.')[0]} old"
    if state is not None and state.ended:
        text += "  " + ", ".join(f"{count:,} {name}" for name, count in state.counts.items() if count)
    return text


def _as_dict(each: InFlight) -> dict[str, Any]:
    record, state = each.record, each.state
    return {
        "batch_id": record.batch_id,
        "fingerprint": record.target.fingerprint,
        "items": record.items,
        "submitted_at": record.intended_at.isoformat() if record.intended_at else None,
        "status": state.status if state is not None else None,
        "expires_at": state.expires_at.isoformat() if state is not None and state.expires_at else None,
        "request_counts": dict(state.counts) if state is not None else {},
    }
