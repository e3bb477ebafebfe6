"""CPU that one request of 200 KB costs from the prepared image to the durable row, beside the official SDK's call.

Ours is the whole submit path: permit, body, HTTP, parse, journal and the item's outcome, with the limits on. The SDK's
is `messages.create` alone, with the base64 already made. The stand-in answers in another process, so its CPU is not
counted; both are measured in one run against the same server in alternating rounds, so that their ratio holds where
absolute figures change with the machine. Where uvloop is installed it is tried under both.

The second table is CPU at the start, of fresh processes: `pipeline --help`, and `import pipeline`.

Run as `python -m benchmarks.bench_submit [REQUESTS]`.
"""

import importlib.util
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import anthropic
import anyio

from benchmarks.serving import KEY, MODEL, PROMPT, message, photograph, served
from pipeline.api.catalogue import Catalogue, worst_cost_usd
from pipeline.api.client import Client, Question
from pipeline.api.messages import BodyWriter
from pipeline.api.transport import Endpoint, open_session
from pipeline.limits.pacer import Need, Pacer
from pipeline.records import ImageRecord, Item, Message, Outcome, PreparedImage
from pipeline.settings import SettingsLimits, SettingsRetry
from pipeline.store.dataset import open_dataset
from pipeline.store.ledger import DatasetSettings, Ledger, RunIdentity, open_ledger

IN_FLIGHT = (32, 256)
ROUNDS = 3
IMAGE_BYTES = 150_000
HEADERS = {"x-api-key": KEY, "anthropic-version": "2023-06-01", "content-type": "application/json"}
Submit = Callable[[str], Awaitable[None]]


def image_of_150_kb() -> tuple[bytes, int, int]:
    """A JPEG that fills 200 KB once it is base64, and its size."""
    width, height = 1092, 1092
    for quality in range(95, 40, -1):
        raw = photograph(width, height, 1, quality)
        if len(raw) <= IMAGE_BYTES:
            break
    return raw, width, height


class Ours:
    """The submit path of one run, from the prepared image on."""

    def __init__(self, client: Client, ledger: Ledger, image: PreparedImage, in_flight: int) -> None:
        self._client = client
        self._ledger = ledger
        self._image = image
        self._model = Catalogue().model(MODEL)
        self._writer = BodyWriter({"model": MODEL, "max_tokens": 300})
        self.in_flight = in_flight

    async def submit(self, pacer: Pacer, name: str) -> None:
        """One item."""
        async with pacer.place():
            turns = [Message("user", (self._image, PROMPT.format(number=name)))]
            tokens, characters = self._writer.need(turns)
            need = Need(tokens, characters, 300, worst_cost_usd(self._model, tokens + 4 * characters, 300) or 0.0)
            answered = await self._client.ask(Question(name, 1, self._writer.body(turns), need))
            said = answered.answer
            await self._ledger.settle(
                Outcome(
                    Item(name, ()),
                    (self._image.record,),
                    caption=said.text,
                    replies=(said.text,),
                    stop_reason=said.stop_reason,
                    model=said.model,
                    message_id=said.message_id,
                    request_id=answered.request_id,
                    usage=said.usage,
                    cost_usd=answered.cost_usd,
                    attempts=1,
                )
            )


async def ours(url: str, raw: bytes, size: tuple[int, int], in_flight: int, requests: int) -> float:
    """CPU milliseconds a request of ours."""
    record = ImageRecord("photo.jpg", sent_media_type="image/jpeg", sent_width=size[0], sent_height=size[1])
    with tempfile.TemporaryDirectory() as place:
        settings = DatasetSettings(Path(place) / "out")
        with open_dataset(settings) as journal:
            async with (
                open_ledger(journal, settings, RunIdentity("bench", "fingerprint")) as ledger,
                open_session(Endpoint(url, HEADERS, 60.0), in_flight + 2) as session,
            ):
                limits = SettingsLimits(
                    requests_per_minute=1_000_000,
                    input_tokens_per_minute=10**10,
                    output_tokens_per_minute=10**9,
                    concurrency=in_flight,
                )
                pacer = Pacer(limits)
                client = Client([session], pacer, ledger, Catalogue().model(MODEL), SettingsRetry())
                path = Ours(client, ledger, PreparedImage(raw, record), in_flight)
                return await cpu_ms(partial(path.submit, pacer), in_flight, requests)


async def sdk(url: str, raw: bytes, _: tuple[int, int], in_flight: int, requests: int) -> float:
    """CPU milliseconds a call of the official SDK."""
    body = message(raw, 0)
    async with anthropic.AsyncAnthropic(api_key=KEY, base_url=url) as client:

        async def submit(name: str) -> None:
            content = [body["messages"][0]["content"][0], {"type": "text", "text": PROMPT.format(number=name)}]
            await client.messages.create(**{**body, "messages": [{"role": "user", "content": content}]})

        return await cpu_ms(submit, in_flight, requests)


async def cpu_ms(submit: Submit, in_flight: int, requests: int) -> float:
    """CPU milliseconds of this process a request, all its threads included, once the connections stand."""

    async def send(sender: int, first: int, count: int) -> None:
        for number in range(first, first + count):
            await submit(f"item-{sender}-{number}")

    async def all_at_once(first: int, each: int) -> None:
        async with anyio.create_task_group() as group:
            for sender in range(in_flight):
                group.start_soon(send, sender, first, each)

    await all_at_once(0, 1)
    each = max(1, requests // in_flight)
    started = time.process_time()
    await all_at_once(1, each)
    return (time.process_time() - started) * 1000 / (each * in_flight)


def table(requests: int) -> None:
    """Prints CPU per request."""
    raw, *size = image_of_150_kb()
    ways: dict[str, Any] = {"SDK, messages.create": (sdk, {}), "ours, whole path": (ours, {})}
    if importlib.util.find_spec("uvloop") is not None:
        ways |= {"SDK on uvloop": (sdk, {"use_uvloop": True}), "ours on uvloop": (ours, {"use_uvloop": True})}
    best = {name: [float("inf")] * len(IN_FLIGHT) for name in ways}
    with tempfile.TemporaryDirectory() as place, served(Path(place) / "log.jsonl", "--latency", "0.05,0.1") as url:
        for _ in range(ROUNDS):
            for column, in_flight in enumerate(IN_FLIGHT):
                for name, (way, options) in ways.items():
                    found = anyio.run(way, url, raw, tuple(size), in_flight, requests, backend_options=options)
                    best[name][column] = min(best[name][column], found)
    floor = next(iter(best.values()))
    print(f"CPU ms a request of {len(raw) * 4 / 3000:.0f} KB, best of {ROUNDS} rounds of {requests}")
    print(f"{'':<22}{'32 in flight':>14}{'ratio':>8}{'256 in flight':>16}{'ratio':>8}")
    for name, (few, many) in best.items():
        print(f"{name:<22}{few:>14.2f}{few / floor[0]:>8.2f}{many:>16.2f}{many / floor[1]:>8.2f}")


def starts() -> None:
    """Prints CPU at the start."""
    print(f"\n{'CPU s at the start, least of 5':<32}{'found':>8}{'at most':>9}")
    for name, words, most in (
        ("python (the floor)", ["-c", "pass"], ""),
        ("pipeline --help", ["-m", "pipeline", "--help"], "0.3"),
        ("import pipeline", ["-c", "import pipeline"], "0.2"),
    ):
        found = min(child_cpu_s([sys.executable, *words]) for _ in range(5))
        print(f"{name:<32}{found:>8.3f}{most:>9}")


def child_cpu_s(command: list[str]) -> float:
    """CPU seconds of a process and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Prints the tables."""
    table(int(sys.argv[1]) if len(sys.argv) > 1 else 512)
    starts()


if __name__ == "__main__":
    main()
