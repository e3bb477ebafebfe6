"""The pacer against simulated services, in virtual time: hours of limits, outages and pauses in no time."""

import math
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.virtual_time import now, run_virtual

from pipeline.limits.budget import Budget
from pipeline.limits.pacer import (
    BudgetReachedError,
    Need,
    OutageError,
    Pacer,
    PacerClosedError,
    Permit,
)
from pipeline.records import Usage
from pipeline.settings import SettingsLimits

SMALL = Need(image_tokens=1000, text_chars=0, max_tokens=100, worst_usd=0.0)
USED = Usage(input_tokens=1000, output_tokens=100)
ANNOUNCED = {
    "anthropic-ratelimit-requests-limit": "600",
    "anthropic-ratelimit-input-tokens-limit": "6000000",
    "anthropic-ratelimit-output-tokens-limit": "6000000",
}
OFF: dict[str, Any] = {
    "requests_per_minute": "off",
    "input_tokens_per_minute": "off",
    "output_tokens_per_minute": "off",
    "concurrency": 64,
}


def pacer(**limits: Any) -> Pacer:
    """A pacer on the running loop's time, with no limits but those given."""
    return Pacer(SettingsLimits(**{**OFF, **limits}), clock=now)


async def together(count: int, work: Callable[[int], Awaitable[None]]) -> None:
    """So many senders at once, started in order."""
    async with anyio.create_task_group() as group:
        for number in range(count):
            group.start_soon(work, number)


async def answer(permit: Permit, latency_s: float = 1.0, usage: Usage = USED, cost_usd: float = 0.0) -> None:
    """The service takes its time and answers."""
    await anyio.sleep(latency_s)
    permit.answered(usage, cost_usd, ANNOUNCED, latency_s)


@given(
    st.sampled_from([60, 120, 1200, 6000]),
    st.sampled_from([0.05, 0.7, 3.0]),
    st.integers(20, 80),
)
@settings(deadline=None, max_examples=15)
def test_uses_the_whole_request_rate_and_never_more(per_minute: int, latency_s: float, count: int) -> None:
    """Over any span at most a third of a second's burst and the rate are sent, and hardly less."""

    async def main() -> list[float]:
        paced, sent = pacer(requests_per_minute=per_minute, concurrency=1000), []

        async def send(_: int) -> None:
            permit = await paced.permit(SMALL)
            sent.append(now())
            await answer(permit, latency_s)

        await together(count, send)
        return sent

    sent = run_virtual(main)
    burst = max(1.0, per_minute / 200)
    for first, begun in enumerate(sent):
        for last in range(first, len(sent)):
            assert last - first + 1 <= burst + (sent[last] - begun) * per_minute / 60 + 1e-3
    used = 0.988 if per_minute == 60 else 1.0  # what finds a strict bucket just full must not come a moment early
    assert sent[-1] - sent[0] <= max(0.0, count - burst) * 60 / per_minute / used + 0.1


@given(st.lists(st.integers(100, 4800), min_size=10, max_size=60))
@settings(deadline=None, max_examples=15)
def test_the_input_limit_holds_for_mixed_sizes(sizes: list[int]) -> None:
    """A service that counts input tokens by the minute never sees more than the limit and one request beyond it."""
    per_minute = 60_000

    async def main() -> list[tuple[float, int]]:
        paced, sent = pacer(input_tokens_per_minute=per_minute), []

        async def send(number: int) -> None:
            permit = await paced.permit(Need(sizes[number], 0, 100))
            sent.append((now(), sizes[number]))
            await answer(permit, 2.0, Usage(sizes[number], 10))

        await together(len(sizes), send)
        return sent

    sent = run_virtual(main)
    for first, (begun, _) in enumerate(sent):
        for last in range(first, len(sent)):
            before = sum(size for _, size in sent[first:last])
            assert before <= per_minute / 120 + (sent[last][0] - begun) * per_minute / 60 + 1


def test_permits_are_given_in_the_order_they_were_asked_for() -> None:
    """A request of a hundred times the usual size is not overtaken by small ones."""

    async def main() -> list[int]:
        paced, order = pacer(input_tokens_per_minute=60_000), []

        async def send(number: int) -> None:
            permit = await paced.permit(Need(40_000 if number == 3 else 400, 0, 10))
            order.append(number)
            await answer(permit, usage=Usage(40_000 if number == 3 else 400, 10))

        await together(10, send)
        return order

    assert run_virtual(main) == list(range(10))


def test_a_waiter_that_is_cancelled_makes_way() -> None:
    """The head of the queue may be given up while it waits; the next one takes its turn and nothing is reserved."""

    async def main() -> tuple[float, int]:
        paced = pacer(requests_per_minute=120)
        await answer(await paced.permit(SMALL), 0.0)
        with anyio.move_on_after(0.25):
            await paced.permit(SMALL)
        permit = await paced.permit(SMALL)
        return now(), paced.statistics().in_flight + permit.probe

    assert run_virtual(main) == (pytest.approx(0.5, abs=1e-3), 1)


def test_the_first_request_goes_alone_until_an_answer_tells_the_limits() -> None:
    """Limits left to auto: one place until the headers have come, several after it, at the announced rate."""

    async def main() -> tuple[list[float], float]:
        paced = pacer(requests_per_minute="auto", concurrency="auto")
        started = []

        async def send(_: int) -> None:
            async with paced.place():
                permit = await paced.permit(SMALL)
                started.append(now())
                await answer(permit, 5.0)

        await together(8, send)
        return started, paced.statistics().places

    started, places = run_virtual(main)
    assert started[0] == 0
    assert all(moment >= 5.0 for moment in started[1:])
    assert started[4] < 6.0
    assert places >= 4


def test_stays_alone_while_the_service_is_not_reached() -> None:
    """A connection that was refused tells no limits: the next request is still the only one."""

    async def main() -> list[int]:
        paced = pacer(requests_per_minute="auto", concurrency=8)
        seen = []
        for end in ("unsent", "answered"):
            async with paced.place():
                permit = await paced.permit(SMALL)
                permit.unsent() if end == "unsent" else permit.answered(USED, 0.0, {}, 1.0)
            seen.append(paced.statistics().places)
        return seen

    assert run_virtual(main) == [1, 8]


def test_places_bound_what_is_in_flight_and_are_given_back() -> None:
    """Never more than three of ten senders are inside, cancelled ones included, and all get through."""

    async def main() -> tuple[int, int]:
        paced = pacer(concurrency=3)
        inside, most, through = 0, 0, 0

        async def send(number: int) -> None:
            nonlocal inside, most, through
            with anyio.move_on_after(0.5 if number == 1 else math.inf):
                async with paced.place():
                    inside += 1
                    most = max(most, inside)
                    try:
                        await anyio.sleep(1.0)
                    finally:
                        inside -= 1
            through += 1

        await together(10, send)
        return most, through

    assert run_virtual(main) == (3, 10)


def test_a_429_pauses_everybody_for_as_long_as_it_asks() -> None:
    """Nothing is sent between the refusal and the end of its wait, by whomever; then all go on."""

    async def main() -> tuple[list[float], float]:
        paced, sent = pacer(requests_per_minute=6000), []

        async def send(number: int) -> None:
            await anyio.sleep(number * 0.5)
            permit = await paced.permit(SMALL)
            sent.append(now())
            if number == 2:
                permit.refused({}, limited_s=20.0, overloaded=False)
                assert paced.statistics().paused_s == pytest.approx(20.0)
            else:
                await answer(permit)

        await together(10, send)
        return sent, paced.statistics().paused_s

    sent, paused = run_virtual(main)
    assert [moment for moment in sent if 1.0 < moment < 21.0] == []
    assert len([moment for moment in sent if moment >= 21.0]) == 7
    assert paused == 0


def test_a_shorter_pause_does_not_cut_a_longer_one() -> None:
    """Two refusals at once: the longer wait counts."""

    async def main() -> float:
        paced = pacer()
        first, second = await paced.permit(SMALL), await paced.permit(SMALL)
        first.refused({}, limited_s=30.0, overloaded=False)
        second.refused({}, limited_s=1.0, overloaded=False)
        await paced.permit(SMALL)
        return now()

    assert run_virtual(main) == pytest.approx(30.0)


def test_an_outage_is_probed_and_not_stormed() -> None:
    """Five minutes in which everything fails: attempts stay near the requests in flight, one probe at a time."""

    async def main() -> tuple[int, int, float, int]:
        paced = pacer(requests_per_minute=6000, concurrency=32)
        attempts, done, most_probes, recovered = 0, 0, 0, math.inf

        async def send(_: int) -> None:
            nonlocal attempts, done, most_probes, recovered
            async with paced.place():
                while True:
                    permit = await paced.permit(SMALL)
                    if now() < 300:
                        attempts += 1
                        if paced.statistics().outage:
                            most_probes = max(most_probes, paced.statistics().in_flight)
                        await anyio.sleep(0.2)
                        permit.refused({}, limited_s=None, overloaded=True)
                        await paced.sleep(1.0)
                        continue
                    recovered = min(recovered, now())
                    await answer(permit)
                    done += 1
                    return

        await together(200, send)
        return attempts, most_probes, recovered, done

    attempts, most_probes, recovered, done = run_virtual(main)
    assert attempts <= 32 + 17
    assert most_probes == 1
    assert recovered <= 325
    assert done == 200


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(0, 100), st.booleans()), min_size=5, max_size=40),
    st.integers(10, 400),
)
@settings(deadline=None, max_examples=30)
def test_the_bill_never_passes_the_budget(requests: list[tuple[int, int, bool]], cents: int) -> None:
    """Whatever requests cost, lost ones too, the bill stays within, and the run stops only for want of room."""

    async def main() -> tuple[int, list[int]]:
        paced, bill, stopped = pacer(budget_usd=cents / 100), 0, []

        async def send(number: int) -> None:
            nonlocal bill
            worst, share, lost = requests[number]
            try:
                permit = await paced.permit(Need(10, 0, 10, worst_usd=worst / 100))
            except BudgetReachedError:
                stopped.append(worst)
                assert bill + worst > cents
                return
            cost = worst if lost else worst * share // 100
            await anyio.sleep(1 + number % 3)
            bill += cost
            assert bill <= cents
            permit.lost(overloaded=False) if lost else permit.answered(USED, cost / 100, {}, 1.0)

        await together(len(requests), send)
        return bill, stopped

    bill, _ = run_virtual(main)
    assert bill <= cents


def test_waits_for_what_is_in_flight_to_make_room() -> None:
    """A request that fits only if another turns out cheaper waits for it, and goes."""

    async def main() -> float:
        paced = pacer(budget_usd=1.0)
        dear = Need(10, 0, 10, worst_usd=0.8)
        first = await paced.permit(dear)
        async with anyio.create_task_group() as group:
            group.start_soon(answer, first, 3.0, USED, 0.1)
            await paced.permit(dear)
        return now()

    assert run_virtual(main) == pytest.approx(3.0)


def test_stops_when_nothing_in_flight_can_make_room() -> None:
    """Without anything in flight a request that does not fit ends the run at once."""

    async def main() -> None:
        paced = pacer(budget_usd=1.0)
        with pytest.raises(BudgetReachedError):
            await paced.permit(Need(10, 0, 10, worst_usd=1.01))

    run_virtual(main)


def test_never_waits_for_room_that_nothing_can_make() -> None:
    """Money that is reserved for nothing in flight, as rounding may leave it, ends the run and does not hang it."""

    async def main() -> None:
        paced = Pacer(SettingsLimits(**OFF), clock=now, budget=Budget(1.0, reserved_usd=0.5))
        with pytest.raises(BudgetReachedError):
            await paced.permit(Need(10, 0, 10, worst_usd=0.8))

    run_virtual(main)


@pytest.mark.parametrize("waits_for", ["place", "permit", "budget"])
def test_closing_reaches_whoever_waits(waits_for: str) -> None:
    """Each kind of wait ends by the closing itself, and not only because somebody else moves."""

    async def main() -> list[float]:
        paced, told = pacer(requests_per_minute=1, concurrency=1, budget_usd=1.0), []
        async with anyio.create_task_group() as group, paced.place():
            await paced.permit(Need(10, 0, 10, worst_usd=0.9))

            async def begin() -> None:
                if waits_for == "place":
                    async with paced.place():
                        pass
                await paced.permit(Need(10, 0, 10, worst_usd=0.9 if waits_for == "budget" else 0.0))

            async def wait() -> None:
                with pytest.raises(PacerClosedError):
                    await begin()
                told.append(now())

            group.start_soon(wait)
            await anyio.sleep(5)
            paced.close()
            await anyio.sleep(100)
        return told

    assert run_virtual(main) == [5.0]


def test_closing_sends_everybody_away_at_once() -> None:
    """Who waits for a place, a permit or a retry is told in the same moment, and nothing is sent after."""

    async def main() -> tuple[list[str], float]:
        paced, told = pacer(requests_per_minute=1, concurrency=2), []
        await paced.permit(SMALL)

        async def permit(_: int) -> None:
            with pytest.raises(PacerClosedError):
                await paced.permit(SMALL)
            told.append("permit")

        async def place(_: int) -> None:
            try:
                async with paced.place():
                    await paced.sleep(1000)
            except PacerClosedError:
                told.append("place")
            else:
                told.append("sleep")

        async with anyio.create_task_group() as group:
            for number in range(4):
                group.start_soon(permit, number)
                group.start_soon(place, number)
            await anyio.sleep(5)
            paced.close()
        assert paced.closed
        return sorted(told), now()

    told, moment = run_virtual(main)
    assert told == ["permit"] * 4 + ["place"] * 2 + ["sleep"] * 2
    assert moment == 5.0


def test_tells_which_limit_binds_and_how_full_it_is() -> None:
    """The view names the limit that made the last request wait."""

    async def main() -> tuple[str, float, int]:
        paced = pacer(requests_per_minute=6000, output_tokens_per_minute=6000)
        await paced.permit(Need(10, 0, 10_000))
        await paced.permit(Need(10, 0, 10_000))
        seen = paced.statistics()
        return seen.binding, seen.fill, seen.in_flight

    assert run_virtual(main) == ("output", 1.0, 2)


async def fail(paced: Pacer, lane: int, times: int = 8) -> None:
    """So many requests to one endpoint fail; those for others are answered at once."""
    asker = 0
    while times:
        asker += 1
        permit = await paced.permit(SMALL, asker=asker)
        if permit.lane == lane:
            permit.refused({}, limited_s=None, overloaded=True)
            times -= 1
        else:
            permit.answered(USED, 0.0, {}, 0.1)


def lanes(*weights: float, **limits: Any) -> Pacer:
    """A pacer of several endpoints."""
    return Pacer(SettingsLimits(**{**OFF, **limits}), clock=now, weights=weights)


def test_endpoints_take_requests_by_their_weights() -> None:
    """Where all of them could take a request, three go to the heavy one for each of the light one."""

    async def main() -> list[int]:
        paced, seen = lanes(3.0, 1.0), []
        for _ in range(80):
            permit = await paced.permit(SMALL)
            seen.append(permit.lane)
            permit.answered(USED, 0.0, {}, 0.1)
        return seen

    seen = run_virtual(main)
    assert seen.count(0) == pytest.approx(60, abs=2)
    assert len(set(seen[:8])) == 2


def test_each_endpoint_has_its_own_limits() -> None:
    """Two accounts of sixty a minute take two a second together, and the pause of one does not hold up the other."""

    async def main() -> tuple[float, list[int]]:
        paced, seen = lanes(1.0, 1.0, requests_per_minute=60), []
        for _ in range(20):
            (await paced.permit(SMALL)).answered(USED, 0.0, {}, 0.1)
        took = now()
        permit = await paced.permit(SMALL)
        permit.refused({}, limited_s=1000.0, overloaded=False)
        for _ in range(5):
            other = await paced.permit(SMALL)
            seen.append(other.lane - permit.lane)
            other.answered(USED, 0.0, {}, 0.1)
        assert paced.statistics().paused_s == 0.0
        return took, seen

    took, seen = run_virtual(main)
    assert took == pytest.approx(9.0, rel=0.02)
    assert 0 not in seen


def test_a_dead_endpoint_is_taken_out_and_probed_and_comes_back() -> None:
    """While it fails it draws a probe now and then; the other takes the work, and nothing counts as an outage."""

    async def main() -> tuple[int, int, bool]:
        paced, probes = lanes(1.0, 1.0, requests_per_minute=600), 0
        await fail(paced, 1)
        begun = now()
        for _ in range(600):
            permit = await paced.permit(SMALL)
            probes += permit.lane
            assert not paced.statistics().outage
            if permit.lane:
                permit.refused({}, limited_s=None, overloaded=True)
            else:
                permit.answered(USED, 0.0, {}, 0.1)
        assert now() - begun == pytest.approx(60, rel=0.05)
        back = 0
        for _ in range(600):
            permit = await paced.permit(SMALL)
            back += permit.lane
            permit.answered(USED, 0.0, {}, 0.1)
        return probes, back, paced.outlasted

    probes, back, outlasted = run_virtual(main)
    assert 2 <= probes <= 8
    assert back >= 200
    assert not outlasted


def test_an_endpoint_that_refuses_the_key_leaves_the_rest_to_the_others() -> None:
    """It is asked no more; when the last one does so nothing more is sent at all."""

    async def main() -> list[int]:
        paced, seen = lanes(1.0, 1.0), []
        for _ in range(2):
            permit = await paced.permit(SMALL)
            permit.refused({}, limited_s=None, overloaded=False, retire=permit.lane == 0)
        for _ in range(10):
            permit = await paced.permit(SMALL)
            seen.append(permit.lane)
            permit.answered(USED, 0.0, {}, 0.1)
        (await paced.permit(SMALL)).refused({}, limited_s=None, overloaded=False, retire=True)
        assert paced.closed
        with pytest.raises(PacerClosedError):
            await paced.permit(SMALL)
        return seen

    assert run_virtual(main) == [1] * 10


def test_the_budget_is_shared_by_all_endpoints() -> None:
    """Money is the run's: what one endpoint has reserved the other cannot spend."""

    async def main() -> None:
        paced = lanes(1.0, 1.0, budget_usd=1.0)
        dear = Need(10, 0, 10, worst_usd=0.6)
        (await paced.permit(dear)).answered(USED, 0.6, {}, 0.1)
        with pytest.raises(BudgetReachedError):
            await paced.permit(dear)

    run_virtual(main)


@pytest.mark.parametrize(("heard", "patience_s"), [(True, 600.0), (False, 120.0)])
def test_an_outage_that_lasts_too_long_gives_up_what_has_failed_before(heard: bool, patience_s: float) -> None:
    """After ten minutes, two where nothing ever came, whoever has tried is told; a fresh one may still probe."""

    async def main() -> tuple[float, int]:
        paced, told = lanes(1.0), []

        async def go_on() -> None:
            while True:
                permit = await paced.permit(SMALL, tried=1, asker=1)
                if heard:
                    permit.refused({}, limited_s=None, overloaded=True)
                else:
                    permit.unsent()

        async def wait(_: int) -> None:
            with pytest.raises(OutageError):
                await go_on()
            told.append(now())

        await together(30, wait)
        assert paced.outlasted
        fresh = await paced.permit(SMALL)
        return max(told), fresh.probe

    last, probe = run_virtual(main)
    assert patience_s <= last <= patience_s + 30
    assert probe > 0


def test_probes_are_no_further_apart_than_the_longest_wait_that_the_user_allows() -> None:
    """A service that stays away is asked at least so often."""

    async def main() -> list[float]:
        paced, times = Pacer(SettingsLimits(), clock=now, longest_wait_s=0.5), []
        for _ in range(30):
            permit = await paced.permit(SMALL)
            times.append(now())
            permit.refused({}, limited_s=None, overloaded=True)
        return times

    gaps = [later - earlier for earlier, later in pairwise(run_virtual(main))]
    assert max(gaps) <= 0.5 + 1e-6
    assert gaps[-1] > 0.4


def test_retries_wait_for_the_quota_and_rate_limits_do_not() -> None:
    """A hundred retries go at once, the next ones trickle; closing sends even those that wait on."""

    async def main() -> tuple[float, float, float]:
        paced = pacer()
        await together(100, lambda _: paced.retry(0.0, limited=False))
        stored = now()
        await together(5, lambda _: paced.retry(0.0, limited=True))
        limited = now()
        await together(5, lambda _: paced.retry(0.0, limited=False))
        trickled = now()
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: paced.retry(0.0, limited=False))
            await anyio.sleep(0.5)
            paced.close()
        assert now() == trickled + 0.5
        return stored, limited, trickled

    stored, limited, trickled = run_virtual(main)
    assert (stored, limited) == (0.0, 0.0)
    assert trickled == pytest.approx(10.0, abs=0.1)
