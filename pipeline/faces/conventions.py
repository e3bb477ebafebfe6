"""What telemetry says of a run, by name: attributes after OpenTelemetry's conventions for generative AI. Pure.

The conventions (https://opentelemetry.io/docs/specs/semconv/gen-ai/, read 2026-11-24) own `gen_ai.`, `error.`, `http.`
and `server.`; what they have no name for begins with `pipeline.`. No attribute holds a prompt, a caption, a key or the
query of a URL.
"""

from contextlib import suppress
from urllib.parse import urlsplit

from pipeline.api.messages import parse_answer
from pipeline.errors import AnswerError
from pipeline.records import Attempt, Mode, Outcome
from pipeline.settings import Config
from pipeline.urls import EMBEDDED, masked_url

__all__ = [
    "DURATION_BUCKETS_S",
    "TOKEN_BUCKETS",
    "Attributes",
    "all_input",
    "common_attributes",
    "item_ended",
    "item_named",
    "request_attributes",
    "request_ended",
    "request_metric",
]

Attributes = dict[str, str | int | float | list[str]]

DURATION_BUCKETS_S = [0.01 * 2**power for power in range(14)]
TOKEN_BUCKETS = [4.0**power for power in range(14)]
"""Both as the conventions want them."""
_PARAMETERS = ("max_tokens", "temperature", "top_p", "top_k")


def common_attributes(config: Config) -> Attributes:
    """What every request and metric shares. Several endpoints have no one address: an attempt does not name its own."""
    found: Attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": config.api.model,
    }
    urls = {each.base_url for each in config.api.endpoints or ()} or {config.api.base_url}
    if len(urls) == 1 and (url := urls.pop()) != EMBEDDED:
        with suppress(ValueError):
            parts = urlsplit(url)
            found["server.address"] = parts.hostname or ""
            found["server.port"] = parts.port or (443 if parts.scheme == "https" else 80)
    return found


def request_attributes(config: Config) -> Attributes:
    """The parameters that every request shares, those of the answer's text left out."""
    given = {name: getattr(config.api, name) for name in _PARAMETERS}
    return {f"gen_ai.request.{name}": value for name, value in given.items() if value is not None}


def request_ended(attempt: Attempt) -> Attributes:
    """How a request ended; what its answer says of itself is read from its body."""
    found: Attributes = {
        **item_named(attempt.item_id),
        "pipeline.turn": attempt.turn,
        "pipeline.attempt": attempt.attempt,
        "pipeline.mode": str(attempt.mode),
    }
    optional = {"http.response.status_code": attempt.http_status, "pipeline.request_id": attempt.request_id}
    found |= {name: value for name, value in optional.items() if value is not None}
    if attempt.error_type is not None:
        found["error.type"] = attempt.error_type
    if attempt.answer is not None:
        with suppress(AnswerError):
            answer = parse_answer(attempt.answer)
            said = {"gen_ai.response.id": answer.message_id, "gen_ai.response.model": answer.model}
            found |= {name: value for name, value in said.items() if value is not None}
            if answer.stop_reason is not None:
                found["gen_ai.response.finish_reasons"] = [answer.stop_reason]
    return found | _counted(attempt)


def request_metric(ended: Attributes) -> Attributes:
    """Of the attributes of a request's end, those that its metrics have too: of few values each."""
    return {key: ended[key] for key in ("error.type", "gen_ai.response.model") if key in ended}


def item_named(item_id: str) -> Attributes:
    """The id; of one that is a URL, without what may be a signature."""
    return {"pipeline.item_id": masked_url(item_id) if "://" in item_id else item_id}


def item_ended(outcome: Outcome) -> Attributes:
    """What became of an item."""
    ended = "failed" if outcome.error is not None else "reused" if outcome.mode is Mode.REUSED else "succeeded"
    failed: Attributes = {"error.type": outcome.error.error_type} if outcome.error is not None else {}
    return failed | {
        "pipeline.outcome": ended,
        "pipeline.images": len(outcome.images),
        "pipeline.attempts": outcome.attempts,
        "pipeline.cost_usd": outcome.cost_usd,
    }


def _counted(attempt: Attempt) -> Attributes:
    """Billed tokens and dollars, where an answer came. The conventions count cached tokens as input."""
    usage = attempt.usage
    if attempt.answer is None or usage is None:
        return {}
    return {
        "gen_ai.usage.input_tokens": all_input(attempt),
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_creation_input_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read_input_tokens,
        "pipeline.cost_usd": attempt.cost_usd or 0.0,
    }


def all_input(attempt: Attempt) -> int:
    """Billed tokens of the prompt: the service counts those that the cache wrote or held apart."""
    usage = attempt.usage
    if usage is None:
        return 0
    return usage.input_tokens + usage.cache_creation_input_tokens + usage.cache_read_input_tokens
