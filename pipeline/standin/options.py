"""How a stand-in behaves: set once, frozen."""

from dataclasses import dataclass, field
from pathlib import Path

from pipeline.standin.faults import Fault

__all__ = ["StandinOptions"]


@dataclass(frozen=True, slots=True)
class StandinOptions:
    """Settings of one server.

    Attributes:
        host: the address that it listens on.
        port: 0 for any free one.
        log: the JSONL file of everything answered and billed; `None` for none.
        latency_s: how long an answer takes, drawn between the two by the body's hash.
        requests_per_minute: the first bucket's rate; `None` enforces nothing and announces a generous limit.
        input_tokens_per_minute: the second.
        output_tokens_per_minute: the third.
        burst_s: how many seconds of its rate a bucket holds: 60 is generous, 1 strict.
        limit_headers: whether answers carry the rate-limit headers (self-hosted servers send none).
        keys: accepted keys; `None` takes any.
        max_base64_bytes: of one image's base64 text.
        faults: misfortunes, in the order in which they are asked.
        certfile: a PEM certificate, to be served by https; `None` for http.
        keyfile: its private key.
    """

    host: str = "127.0.0.1"
    port: int = 0
    log: Path | None = None
    latency_s: tuple[float, float] = (0.0, 0.0)
    requests_per_minute: int | None = None
    input_tokens_per_minute: int | None = None
    output_tokens_per_minute: int | None = None
    burst_s: float = 60.0
    limit_headers: bool = True
    keys: frozenset[str] | None = field(default=None, repr=False)
    max_base64_bytes: int = 5_242_880
    faults: tuple[Fault, ...] = ()
    certfile: Path | None = None
    keyfile: Path | None = None
