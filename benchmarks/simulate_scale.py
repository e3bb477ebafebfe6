"""A thousand workers on one account, in virtual time: the program's own lessor, leases and pacers, events one by one.

The service's buckets are the stand-in's. Between workers and lessor lie delays, and reports and answers get lost; some
workers die and come back. Nothing here is real but the decisions: an hour passes in a minute.

Run as `python -m benchmarks.simulate_scale [--workers N] [--seconds S]`. The torture test of `--engine ray` runs four
real workers on leases against a real server, and holds what they use of the limit against what this says of them.
"""

import argparse
import asyncio
import random
import selectors
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio

from pipeline.limits.lessor import Lessor
from pipeline.limits.pacer import Need, Pacer, PacerClosedError
from pipeline.records import Usage
from pipeline.settings import SettingsLimits
from pipeline.standin.meters import Meters
from pipeline.standin.options import StandinOptions
from pipeline.standin.problems import Problem

__all__ = ["Account", "Found", "Scenario", "simulate"]

T = TypeVar("T")


@dataclass(frozen=True)
class Scenario:
    """What is simulated.

    Attributes:
        requests_per_minute: of the account; the run is told, or learns it (`learns`).
        latency_s: of an answer, between the two.
        burst_s: seconds of its rate that the service's bucket holds.
        joins_s: workers come one after the other within so long.
        kills: workers that die at random moments after the warm-up and come back 10 s later.
        loss: the part of reports, and of answers to them, that gets lost.
        delay_s: between a worker and the lessor, one way, between the two.
        image_tokens, output_tokens: of one request, between the two.
        seconds, warm_up_s: of the whole, and before anything is measured.
    """

    workers: int = 1000
    requests_per_minute: int = 10_000
    input_tokens_per_minute: int = 10_000_000
    output_tokens_per_minute: int = 2_000_000
    budget_usd: float | None = None
    worst_usd: float = 0.01
    cost_usd: float = 0.002
    learns: bool = False
    latency_s: tuple[float, float] = (0.8, 4.0)
    burst_s: float = 60.0
    joins_s: float = 10.0
    kills: int = 0
    loss: float = 0.0
    delay_s: tuple[float, float] = (0.0005, 0.02)
    senders: int = 4
    image_tokens: tuple[int, int] = (400, 1568)
    output_tokens: tuple[int, int] = (30, 120)
    seconds: float = 90.0
    warm_up_s: float = 45.0
    seed: int = 1


@dataclass
class Found:
    """What came of it.

    Attributes:
        used: the part of the binding limit that was used in the window.
        binding: which limit that was.
        rejected: refusals as a part of the answers, in the window.
        most_in_force: the most that leases in force came to, as a part of the limit, at any moment.
        least, most: images of the worker that got the fewest in the window, and of the one that got the most.
        reports_a_second: that the lessor answered.
        spent_usd: by all workers together, what was in flight when a worker died at its worst.
    """

    used: float
    binding: str
    rejected: float
    most_in_force: float
    least: int
    most: int
    reports_a_second: float
    spent_usd: float
    admitted: int


class Account:
    """The service, as its own meters have it."""

    def __init__(self, scenario: Scenario, chance: random.Random) -> None:
        self.scenario = scenario
        self.chance = chance
        rates = {
            "requests_per_minute": scenario.requests_per_minute,
            "input_tokens_per_minute": scenario.input_tokens_per_minute,
            "output_tokens_per_minute": scenario.output_tokens_per_minute,
        }
        self.meters = Meters(StandinOptions(burst_s=scenario.burst_s, **rates), now)
        self.admitted: list[tuple[float, int, int]] = []
        self.produced: list[tuple[float, int]] = []
        self.rejected: list[float] = []
        self.spent_usd = 0.0

    async def ask(self, pacer: Pacer, who: int, tried: int = 0) -> float | None:
        """One attempt; the wait before the next, `None` when answered."""
        scenario, chance = self.scenario, self.chance
        tokens = chance.randint(*scenario.image_tokens)
        permit = await pacer.permit(Need(tokens, 120, 300, scenario.worst_usd), tried=tried)
        started, is_over = now(), False
        try:
            await anyio.sleep(chance.uniform(0.002, 0.06))
            try:
                self.meters.admit(tokens + 35)
            except Problem as problem:
                is_over = True
                self.rejected.append(now())
                wait_s = float(problem.headers["retry-after"])
                permit.refused(problem.headers, limited_s=wait_s, overloaded=False)
                return wait_s * chance.uniform(1.0, 1.1)
            self.admitted.append((now(), tokens + 35, who))
            await anyio.sleep(chance.uniform(*scenario.latency_s))
            is_over = True
        finally:
            if not is_over:  # its worker was killed: the service bills it at most
                self.spent_usd += scenario.worst_usd
        out = chance.randint(*scenario.output_tokens)
        self.meters.produced(out)
        self.produced.append((now(), out))
        self.spent_usd += scenario.cost_usd
        permit.answered(Usage(tokens + 35, out), scenario.cost_usd, self.meters.headers(), now() - started)
        return None


@dataclass
class _Office:
    """The lessor behind a wire that delays and loses."""

    scenario: Scenario
    lessor: Lessor
    chance: random.Random
    reports: int = 0
    most: dict[str, float] = field(default_factory=dict)

    async def renew(self, key: str, pacer: Pacer) -> None:
        """One worker's beats, until cancelled."""
        ack, chance = 0, self.chance
        while True:
            sent_at, report = now(), pacer.report(ack)
            await anyio.sleep(chance.uniform(*self.scenario.delay_s))
            lost = chance.random() < self.scenario.loss
            lease = None if lost else self.lessor.report(key, report, now())
            self.reports += 1
            self._watch()
            await anyio.sleep(chance.uniform(*self.scenario.delay_s))
            if lease is None or chance.random() < self.scenario.loss:
                await anyio.sleep(0.2)
                continue
            pacer.adopt(lease, sent_at + lease.valid_s)
            ack = lease.number
            await anyio.sleep(lease.next_s)

    def _watch(self) -> None:
        for name in ("requests", "input", "output"):
            self.most[name] = max(self.most.get(name, 0.0), self.lessor.in_force(name))


class _Worker:
    """One worker: senders that always have something to ask, and a lessee."""

    def __init__(self, number: int, scenario: Scenario, limits: SettingsLimits) -> None:
        self.number = number
        self.scenario = scenario
        self.limits = limits
        self.lives = 0

    async def live(self, account: Account, office: _Office) -> None:
        """From its start to its death."""
        self.lives += 1
        key = f"{self.number}-{self.lives}"
        pacer = Pacer(self.limits, clock=now, leased=True)

        async def send() -> None:
            try:
                while True:
                    async with pacer.place():
                        tried = 0
                        while (wait_s := await account.ask(pacer, self.number, tried)) is not None:
                            tried += 1
                            await pacer.retry(wait_s, limited=True)
            except PacerClosedError:
                return

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(office.renew, key, pacer)
            for _ in range(self.scenario.senders):
                tasks.start_soon(send)


def simulate(scenario: Scenario) -> Found:
    """Runs it in virtual time."""
    return run_virtual(_simulate, scenario)


async def _simulate(scenario: Scenario) -> Found:
    chance = random.Random(scenario.seed)
    account = Account(scenario, chance)
    rates: dict[str, Any] = {
        "requests_per_minute": scenario.requests_per_minute,
        "input_tokens_per_minute": scenario.input_tokens_per_minute,
        "output_tokens_per_minute": scenario.output_tokens_per_minute,
    }
    limits = SettingsLimits(budget_usd=scenario.budget_usd, **({} if scenario.learns else rates))
    office = _Office(scenario, Lessor(limits), chance)
    workers = [_Worker(number, scenario, limits) for number in range(scenario.workers)]
    doomed = {
        chance.randrange(scenario.workers): chance.uniform(scenario.warm_up_s, scenario.seconds)
        for _ in range(scenario.kills)
    }

    async def employ(worker: _Worker) -> None:
        await anyio.sleep(chance.uniform(0, scenario.joins_s))
        if worker.number in doomed:
            with anyio.move_on_after(max(0.0, doomed[worker.number] - now())):
                await worker.live(account, office)
            await anyio.sleep(10)
        await worker.live(account, office)

    async with anyio.create_task_group() as tasks:
        for worker in workers:
            tasks.start_soon(employ, worker)
        await anyio.sleep(scenario.seconds)
        tasks.cancel_scope.cancel()
    return _measured(scenario, account, office, rates)


def _measured(scenario: Scenario, account: Account, office: _Office, rates: dict[str, int]) -> Found:
    since, until = scenario.warm_up_s, scenario.seconds
    inside = [one for one in account.admitted if since <= one[0] < until]
    spent = {
        "requests": len(inside),
        "input": sum(tokens for _, tokens, _ in inside),
        "output": sum(tokens for at, tokens in account.produced if since <= at < until),
    }
    parts = {name: spent[name] / (rates[f"{_KEYS[name]}"] * (until - since) / 60) for name in spent}
    binding = max(parts, key=lambda name: parts[name])
    counts = dict.fromkeys(range(scenario.workers), 0)
    for _, _, who in inside:
        counts[who] += 1
    refused = sum(since <= at < until for at in account.rejected)
    return Found(
        used=parts[binding],
        binding=binding,
        rejected=refused / max(1, len(inside)),
        most_in_force=max(office.most[name] / rates[_KEYS[name]] for name in office.most),
        least=min(counts.values()),
        most=max(counts.values()),
        reports_a_second=office.reports / scenario.seconds,
        spent_usd=account.spent_usd,
        admitted=len(account.admitted),
    )


_KEYS = {
    "requests": "requests_per_minute",
    "input": "input_tokens_per_minute",
    "output": "output_tokens_per_minute",
}


class _JumpingLoop(asyncio.SelectorEventLoop):
    """Where a loop would sleep, it moves its own clock."""

    def __init__(self) -> None:
        self.moment = 0.0
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        return self.moment


class _JumpingSelector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    def __init__(self, loop: _JumpingLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("every task waits for ever")
        if not ready and timeout is not None:
            self._loop.moment += max(0.0, timeout)
        return ready


def now() -> float:
    """Seconds of the virtual time."""
    return asyncio.get_running_loop().time()


def run_virtual(main: Callable[..., Awaitable[T]], *arguments: Any) -> T:
    """Runs a coroutine function to its end in virtual time."""
    return anyio.run(main, *arguments, backend_options={"loop_factory": _JumpingLoop})


HEADER = (
    f"{'scenario':<44}{'workers':>8}{'used':>8}{'refused':>9}{'in force':>9}{'images each':>14}{'reports/s':>10}"
    f"{'spent':>9}"
)


def line(name: str, scenario: Scenario, found: Found) -> str:
    """One row of the table."""
    each = f"{found.least} to {found.most}"
    money = f"${found.spent_usd:.2f}" if scenario.budget_usd is not None else ""
    return (
        f"{name:<44}{scenario.workers:>8}{found.used:>8.3f}{found.rejected:>9.2%}{found.most_in_force:>9.3f}{each:>14}"
        f"{found.reports_a_second:>10.0f}{money:>9}"
    )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=90.0)
    chosen = parser.parse_args(sys.argv[1:])
    many: dict[str, Any] = {"workers": chosen.workers, "seconds": chosen.seconds}
    few = {**many, "workers": max(2, chosen.workers // 100)}
    scenarios = {
        "Scale tier, 10,000 requests a minute": Scenario(**many),
        "the same, one second's bucket": Scenario(**many, burst_s=1.0),
        "the same, a hundredth of the workers": Scenario(**{**few, "burst_s": 1.0, "senders": 256}),
        "limits learned from the headers": Scenario(**many, learns=True),
        "5 % of messages lost, 100 workers killed": Scenario(**many, loss=0.05, kills=chosen.workers // 10),
        "Start tier, 1,000 requests a minute": Scenario(
            **many,
            requests_per_minute=1000,
            input_tokens_per_minute=2_000_000,
            output_tokens_per_minute=400_000,
            senders=2,
        ),
        "a budget of $40": Scenario(**many, budget_usd=40.0, warm_up_s=1.0, kills=chosen.workers // 20),
    }
    print(HEADER)
    for name, scenario in scenarios.items():
        print(line(name, scenario, simulate(scenario)), flush=True)


if __name__ == "__main__":
    main()
