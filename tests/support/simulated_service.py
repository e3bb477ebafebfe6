"""A service in virtual time: the stand-in's own meters behind a wire that jitters, and senders to keep a pacer busy."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio

from pipeline.limits.pacer import Need, Pacer, PacerClosedError
from pipeline.records import Usage
from pipeline.standin.meters import Meters
from pipeline.standin.options import StandinOptions
from pipeline.standin.problems import Problem
from support.virtual_time import now

__all__ = ["Picture", "SimulatedService", "keep_busy"]


@dataclass(frozen=True)
class Picture:
    """What a request really takes, beside what its need says."""

    need: Need
    input_tokens: int
    output_tokens: int


@dataclass
class SimulatedService:
    """One account of the service.

    Attributes:
        options: rates, burst and latency, as the stand-in takes them.
        wire_s: a request arrives so much later than it was permitted, drawn between the two.
        stall: this part of the requests arrives up to a third of a second late.
        down: whether it fails at that moment.
        admitted, produced, rejected, failed: moments, with amounts, askers or pictures.
    """

    options: StandinOptions
    seed: int = 1
    wire_s: tuple[float, float] = (0.002, 0.06)
    stall: float = 0.02
    down: Callable[[float], bool] = lambda _: False
    admitted: list[tuple[float, int, int]] = field(default_factory=list)
    produced: list[tuple[float, int]] = field(default_factory=list)
    rejected: list[float] = field(default_factory=list)
    failed: list[tuple[float, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Starts the meters at the loop's time."""
        self.meters = Meters(self.options, now)
        self.chance = random.Random(self.seed)

    async def ask(self, paced: Pacer, picture: Picture, who: int = 0, tried: int = 0) -> float | None:
        """One attempt, told to the pacer as the client tells it; the wait before the next, `None` when answered."""
        permit = await paced.permit(picture.need, asker=id(picture), tried=tried)
        started = now()
        await anyio.sleep(self.chance.uniform(*self.wire_s))
        if self.chance.random() < self.stall:
            await anyio.sleep(self.chance.uniform(0, 0.33))
        if self.down(now()):
            self.failed.append((now(), id(picture)))
            permit.refused({}, limited_s=None, overloaded=True)
            return self.chance.uniform(0, 0.5)
        try:
            self.meters.admit(picture.input_tokens)
        except Problem as problem:
            self.rejected.append(now())
            wait_s = float(problem.headers["retry-after"])
            permit.refused(problem.headers, limited_s=wait_s, overloaded=False)
            return wait_s * self.chance.uniform(1.0, 1.1)
        self.admitted.append((now(), picture.input_tokens, who))
        await anyio.sleep(self.chance.uniform(*self.options.latency_s))
        self.meters.produced(picture.output_tokens)
        self.produced.append((now(), picture.output_tokens))
        headers = self.meters.headers()
        permit.answered(Usage(picture.input_tokens, picture.output_tokens), 0.0, headers, now() - started)
        return None

    def utilisation(self, limit: str, since: float, until: float, who: int | None = None) -> float:
        """The part of a limit that was used between two moments."""
        rates = {
            "requests": self.options.requests_per_minute,
            "input": self.options.input_tokens_per_minute,
            "output": self.options.output_tokens_per_minute,
        }
        if limit == "output":
            used = sum(tokens for moment, tokens in self.produced if since <= moment < until)
        else:
            used = sum(
                tokens if limit == "input" else 1
                for moment, tokens, asker in self.admitted
                if since <= moment < until and who in (None, asker)
            )
        return used / ((rates[limit] or 1) * (until - since) / 60)


async def keep_busy(
    service: SimulatedService, paced: Pacer, draw: Callable[[], Picture], *, senders: int = 256, who: int = 0
) -> int:
    """Senders that always have something to ask, until the pacer closes; the most attempts that one took."""
    most = 0

    async def send() -> None:
        nonlocal most
        try:
            while True:
                async with paced.place():
                    picture, tried = draw(), 0
                    while (wait_s := await service.ask(paced, picture, who, tried)) is not None:
                        tried += 1
                        most = max(most, tried)
                        await paced.retry(wait_s, limited=paced.statistics().outage)
        except PacerClosedError:
            return

    async with anyio.create_task_group() as group:
        for _ in range(senders):
            group.start_soon(send)
    return most
