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
        batch_s: how many seconds of the batches' clock a batch takes, drawn between the two for each.
        batch_cancel_s: how many pass between the cancellation of a batch and its end.
        batch_hold: whether new batches are held: nothing of them is finished until they are released.
        batch_queue: the most requests in batches that have not ended; `None` enforces nothing.
        batch_calls_per_minute: requests to the Message Batches API; `None` enforces nothing.
        batch_most: the most requests of one batch.
        batch_bytes: the most bytes of a create call.
        batch_seed: of the order in which requests are finished and results are listed.
        certfile: a PEM certificate, to be served by https; `None` for http.
        keyfile: its private key.
        look: whether a small real model looks at every picture, where the extra is installed; else a request asks.
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
    batch_s: tuple[float, float] = (0.0, 0.0)
    batch_cancel_s: float = 0.0
    batch_hold: bool = False
    batch_queue: int | None = None
    batch_calls_per_minute: int | None = None
    batch_most: int = 100_000
    batch_bytes: int = 256_000_000
    batch_seed: int = 0
    certfile: Path | None = None
    keyfile: Path | None = None
    look: bool = False
