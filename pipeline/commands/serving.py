"""`pipeline serve`."""

from collections.abc import Mapping
from typing import Any

from pipeline.errors import ConfigError
from pipeline.standin.faults import parse_fault
from pipeline.standin.looking import LOOK_EXTRA, can_look
from pipeline.standin.options import StandinOptions
from pipeline.standin.server import serve

__all__ = ["serve_command"]


def serve_command(options: Mapping[str, Any]) -> int:
    """Serves the stand-in until it is told to end."""
    if not options["host"].isascii():
        raise ConfigError(f'--host: found "{options["host"]}"; allowed: an address, or a name in ASCII')
    if options.get("look", False) and not can_look():
        raise ConfigError(f"--look: {LOOK_EXTRA}")
    try:
        chosen = StandinOptions(
            host=options["host"],
            port=options["port"],
            log=options["log"],
            latency_s=_seconds("--latency", options["latency"]),
            requests_per_minute=options["requests_per_minute"],
            input_tokens_per_minute=options["input_tokens_per_minute"],
            output_tokens_per_minute=options["output_tokens_per_minute"],
            burst_s=options["burst_seconds"],
            limit_headers=not options["no_limit_headers"],
            keys=frozenset(options["keys"]) or None,
            max_base64_bytes=options["max_base64_bytes"],
            faults=tuple(parse_fault(text) for text in options["faults"]),
            look=options.get("look", False),
            **_batches(options),
        )
    except ValueError as error:
        raise ConfigError(str(error)) from None
    try:
        serve(chosen)
    except OSError as error:
        place = f"--log {error.filename}" if error.filename else f"--port {chosen.port} on {chosen.host}"
        raise ConfigError(f"{place}: {error.strerror or error}") from error
    return 0


def _batches(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "batch_s": _seconds("--batch-seconds", options["batch_seconds"]),
        "batch_cancel_s": options["batch_cancel_seconds"],
        "batch_hold": options["batch_hold"],
        "batch_queue": options["batch_queue"],
        "batch_calls_per_minute": options["batch_calls_per_minute"],
        "batch_most": options["batch_most"],
        "batch_bytes": options["batch_bytes"],
        "batch_seed": options["batch_seed"],
    }


def _seconds(option: str, text: str) -> tuple[float, float]:
    low, _, high = text.partition(",")
    try:
        bounds = float(low), float(high or low)
    except ValueError:
        bounds = -1.0, -1.0
    if not 0 <= bounds[0] <= bounds[1] < float("inf"):
        raise ConfigError(f'{option}: found "{text}"; allowed: seconds, or two of them in order such as 0.2,3')
    return bounds
