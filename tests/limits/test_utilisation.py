"""How much of a limit is used, how often it is tripped, and what an outage costs, against the stand-in's own meters.

Minutes of a service behind a jittering wire pass in virtual time; nothing here is real waiting.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
from support.simulated_service import Picture, SimulatedService, keep_busy
from support.virtual_time import now, run_virtual

from pipeline.limits.pacer import Need, Pacer
from pipeline.settings import SettingsLimits
from pipeline.standin.options import StandinOptions

RATES: dict[str, dict[str, int]] = {
    "requests": {"requests_per_minute": 1200},
    "input": {"input_tokens_per_minute": 600_000},
    "output": {"output_tokens_per_minute": 24_000},
}
KEYS = ("requests_per_minute", "input_tokens_per_minute", "output_tokens_per_minute")


@dataclass
class Trial:
    """What came of some runs on one account."""

    service: SimulatedService
    seconds: float
    places: int

    @property
    def rejections(self) -> float:
        """The part of the requests that was refused."""
        return len(self.service.rejected) / (len(self.service.admitted) + len(self.service.rejected))


def pictures(seed: int) -> Callable[[], Picture]:
    """Images of all sizes with texts and captions of some; the text's tokens are not what one would guess."""
    chance = random.Random(seed)

    def draw() -> Picture:
        tokens = chance.randint(100, 1568)
        return Picture(Need(tokens, 120, 300), tokens + 35, chance.randint(15, 45))

    return draw


def trial(limit: str, seconds: float, *, runs: int = 1, known: bool = True, seed: int = 1, **options: Any) -> Trial:
    """Keeps an account busy for so long; `rate` is in the place of the usual limit, `wire` is of the service."""

    async def main() -> Trial:
        rates: dict[str, Any] = dict.fromkeys(
            RATES[limit], options.pop("rate", None) or next(iter(RATES[limit].values()))
        )
        wire = options.pop("wire", {})
        chosen = StandinOptions(**rates, **{"latency_s": (0.2, 3.0), **options})
        service = SimulatedService(chosen, seed=seed, **wire)
        limits: dict[str, Any] = {key: rates.get(key, "off") if known else "auto" for key in KEYS}
        pacers = [Pacer(SettingsLimits(**limits), clock=now) for _ in range(runs)]
        async with anyio.create_task_group() as group:
            for number, paced in enumerate(pacers):
                draw = pictures(10 * seed + number)
                group.start_soon(
                    lambda paced=paced, draw=draw, number=number: keep_busy(service, paced, draw, who=number)
                )
            await anyio.sleep(seconds)
            places = pacers[0].statistics().places
            group.cancel_scope.cancel()
        return Trial(service, seconds, places)

    return run_virtual(main)


@pytest.mark.parametrize("limit", ["requests", "input", "output"])
@pytest.mark.parametrize("burst_s", [1.0, 60.0])
@pytest.mark.parametrize("seed", [1, 2])
def test_known_limits_are_used_to_98_percent_without_tripping_them(limit: str, burst_s: float, seed: int) -> None:
    """Mixed sizes, latencies from 0.2 to 3 s, a wire that jitters and stalls: over minutes after the warm-up."""
    found = trial(limit, 210, burst_s=burst_s, seed=seed)
    assert found.service.utilisation(limit, 30, 210) >= 0.98
    assert found.rejections <= 0.005


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("rate", [50, 60, 66])
def test_a_request_a_second_is_used_to_98_percent_of_a_bucket_that_holds_one(rate: int, known: bool) -> None:
    """Each finds the strict bucket just full: no sooner on a wire that jitters by milliseconds, and hardly later."""
    quiet = {"wire_s": (0.002, 0.008), "stall": 0.0}
    found = trial("requests", 210, known=known, rate=rate, burst_s=1.0, latency_s=(0.2, 3.0), wire=quiet)
    assert found.service.utilisation("requests", 30, 210) >= 0.98
    assert found.rejections <= 0.005


def test_a_wire_that_jitters_more_widens_the_margin_of_a_bucket_that_holds_one() -> None:
    """Some are refused, since nobody can know how late each will arrive; fewer as the margin grows."""
    found = trial("requests", 330, rate=60, burst_s=1.0)
    assert found.service.utilisation("requests", 30, 330) >= 0.9
    assert found.rejections <= 0.03


def test_requests_larger_than_a_strict_bucket_are_hardly_ever_refused() -> None:
    """A bucket that holds less than an image is full before each, and in debt after it."""
    quiet = {"wire_s": (0.002, 0.008), "stall": 0.0}
    found = trial("input", 330, rate=30_000, burst_s=1.0, wire=quiet)
    assert found.service.utilisation("input", 30, 330) >= 0.85
    assert found.rejections <= 0.02


@pytest.mark.parametrize("limit", ["requests", "input"])
def test_a_server_without_headers_is_paced_by_the_given_limits_alone(limit: str) -> None:
    """Nothing is told, nothing is missed."""
    found = trial(limit, 90, burst_s=1.0, limit_headers=False)
    assert found.service.utilisation(limit, 30, 90) >= 0.98
    assert found.rejections <= 0.005


@pytest.mark.parametrize("limit", ["requests", "input", "output"])
@pytest.mark.parametrize("burst_s", [1.0, 60.0])
def test_limits_are_found_and_used_to_95_percent_from_a_cold_start(limit: str, burst_s: float) -> None:
    """Two minutes, the first lonely request included."""
    found = trial(limit, 120, known=False, burst_s=burst_s)
    assert found.service.utilisation(limit, 0, 120) >= 0.95
    assert found.rejections <= 0.005


@pytest.mark.parametrize("limit", ["requests", "input", "output"])
@pytest.mark.parametrize("burst_s", [1.0, 60.0])
def test_two_runs_that_know_nothing_of_each_other_share_an_account(limit: str, burst_s: float) -> None:
    """Together they use it, and neither starves, though both read the whole limit in the headers."""
    found = trial(limit, 180, runs=2, known=False, burst_s=burst_s)
    service = found.service
    assert service.utilisation(limit, 60, 180) >= 0.9
    if limit != "output":
        parts = [service.utilisation(limit, 60, 180, who) for who in (0, 1)]
        assert min(parts) >= 0.4
    answered = [sum(asker == who for _, _, asker in service.admitted) for who in (0, 1)]
    assert min(answered) >= 0.4 * sum(answered)


def test_a_third_run_gets_its_third() -> None:
    """The rule is not made for two."""
    service = trial("requests", 180, runs=3, known=False, burst_s=60.0).service
    for who in range(3):
        assert service.utilisation("requests", 60, 180, who) == pytest.approx(1 / 3, abs=0.05)


def test_a_large_limit_is_reached_from_a_cold_start() -> None:
    """Four thousand a minute need more than a hundred in flight, within seconds."""

    async def main() -> float:
        service = SimulatedService(StandinOptions(requests_per_minute=4000, burst_s=1.0, latency_s=(0.2, 3.0)))
        paced = Pacer(SettingsLimits(), clock=now)
        async with anyio.create_task_group() as group:
            group.start_soon(keep_busy, service, paced, pictures(1))
            await anyio.sleep(120)
            group.cancel_scope.cancel()
        return service.utilisation("requests", 0, 120)

    assert run_virtual(main) >= 0.95


@dataclass
class Aftermath:
    """What an outage cost: attempts and distinct items in it, the most attempts of one, and what came after."""

    attempts: int
    items: int
    most: int
    first_after_s: float
    full_after: float


def outage(begin: float, *, headers: bool, rate: int = 1200) -> Aftermath:
    """Five minutes in which everything fails."""

    async def main() -> Aftermath:
        end = begin + 300
        options = StandinOptions(requests_per_minute=rate, burst_s=1.0, latency_s=(0.2, 3.0), limit_headers=headers)
        service = SimulatedService(options, down=lambda moment: begin <= moment < end)
        paced = Pacer(SettingsLimits(requests_per_minute="auto" if headers else rate), clock=now)
        most = 0

        async def run() -> None:
            nonlocal most
            most = await keep_busy(service, paced, pictures(1))

        async with anyio.create_task_group() as group:
            group.start_soon(run)
            await anyio.sleep(end + 60)
            paced.close()
        after = [moment for moment, _, _ in service.admitted if moment >= end]
        items = len({who for _, who in service.failed})
        full = service.utilisation("requests", end + 30, end + 60)
        return Aftermath(len(service.failed), items, most, after[0] - end, full)

    return run_virtual(main)


@pytest.mark.parametrize("rate", [1200, 4000])
def test_five_minutes_of_failures_are_sat_out(rate: int) -> None:
    """Few attempts, hardly any item twice, and full speed half a minute after the end."""
    found = outage(30, headers=True, rate=rate)
    assert found.attempts <= 30
    assert found.attempts <= 1.2 * found.items
    assert found.most <= 2
    assert found.first_after_s <= 27
    assert found.full_after >= 0.95


@pytest.mark.parametrize(("begin", "headers"), [(0.0, True), (20.0, False)])
def test_an_outage_at_the_start_or_without_headers_costs_no_more(begin: float, headers: bool) -> None:
    """The single first request is its own probe; a server that tells no limits is not slower for it afterwards."""
    found = outage(begin, headers=headers)
    assert found.attempts <= 30
    assert found.first_after_s <= 27
    assert found.full_after >= 0.9


def test_a_service_that_fails_every_third_request_is_not_asked_twice_as_often() -> None:
    """No outage, no breaker: retries are bounded by the quota, and all is answered in the end."""

    async def main() -> tuple[int, int]:
        chance = random.Random(5)
        options = StandinOptions(requests_per_minute=1200, latency_s=(0.2, 1.0))
        service = SimulatedService(options, down=lambda _: chance.random() < 0.3)
        paced = Pacer(SettingsLimits(requests_per_minute=1200), clock=now)
        async with anyio.create_task_group() as group:
            group.start_soon(keep_busy, service, paced, pictures(1))
            await anyio.sleep(300)
            group.cancel_scope.cancel()
        return len(service.failed), len(service.admitted)

    failed, admitted = run_virtual(main)
    assert admitted >= 2000
    assert failed <= 0.45 * admitted + 100
