"""CPU that one request of 200 KB costs from the prepared image to the durable row, beside the official SDK's call.

Ours is the whole submit path: permit, body, HTTP, parse, journal and the item's outcome, with the limits on. The SDK's
is `messages.create` alone, with the base64 already made. Each is measured in a fresh process of its own, which imports
what it needs and nothing of the other (a heap that is not one's own costs garbage collections), by that process's CPU
time with all its threads. The stand-in answers in another one, so its CPU is not counted. Rounds alternate on one
server, so that the ratio holds where absolute figures change with the machine. Where uvloop is installed it is tried
under both.

The second table is CPU at the start, of fresh processes: `pipeline --help`, and `import pipeline`.

Run as `python -m benchmarks.bench_submit [REQUESTS]`.
"""

import argparse
import importlib.util
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio

from benchmarks.serving import KEY, PROMPT, message, photograph, served

IN_FLIGHT = (32, 256)
ROUNDS = 3
IMAGE_BYTES = 150_000
SIZE_PX = 1092
Submit = Callable[[str], Awaitable[None]]


def image_of_150_kb() -> bytes:
    """A JPEG that fills 200 KB once it is base64."""
    for quality in range(95, 40, -1):
        raw = photograph(SIZE_PX, SIZE_PX, 1, quality)
        if len(raw) <= IMAGE_BYTES:
            break
    return raw


async def sdk(url: str, raw: bytes, in_flight: int, requests: int) -> float:
    """CPU milliseconds a call of the official SDK."""
    import anthropic  # noqa: PLC0415 - ours has none of it in its process

    body = message(raw, 0)
    async with anthropic.AsyncAnthropic(api_key=KEY, base_url=url) as client:

        async def submit(name: str) -> None:
            content = [body["messages"][0]["content"][0], {"type": "text", "text": PROMPT.format(number=name)}]
            await client.messages.create(**{**body, "messages": [{"role": "user", "content": content}]})

        return await cpu_ms(submit, in_flight, requests)


async def ours(url: str, raw: bytes, in_flight: int, requests: int) -> float:
    """CPU milliseconds a request of ours."""
    from benchmarks.submit_path import submit_path  # noqa: PLC0415 - the SDK has none of it in its process

    async with submit_path(url, raw, SIZE_PX, in_flight) as submit:
        return await cpu_ms(submit, in_flight, requests)


WAYS = {"sdk": sdk, "ours": ours}


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


def alone(*asked: str | int) -> float:
    """CPU ms a request in a fresh process, for way, address, image file, requests in flight and in all, and loop."""
    command = [sys.executable, "-m", "benchmarks.bench_submit", "--alone", json.dumps(asked)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def measured(asked: str) -> float:
    """What such a process does."""
    way, url, image, in_flight, requests, uvloop = json.loads(asked)
    options = {"use_uvloop": uvloop}
    return anyio.run(WAYS[way], url, Path(image).read_bytes(), in_flight, requests, backend_options=options)


def table(requests: int) -> None:
    """Prints CPU per request."""
    loops = (False, True) if importlib.util.find_spec("uvloop") is not None else (False,)
    ways = [(way, uvloop) for uvloop in loops for way in WAYS]
    best = {way: [float("inf")] * len(IN_FLIGHT) for way in ways}
    with tempfile.TemporaryDirectory() as place, served(Path(place) / "log.jsonl", "--latency", "0.05,0.1") as url:
        image = Path(place) / "photo.jpg"
        image.write_bytes(image_of_150_kb())
        for _ in range(ROUNDS):
            for column, in_flight in enumerate(IN_FLIGHT):
                for way, uvloop in ways:
                    found = alone(way, url, str(image), in_flight, requests, uvloop)
                    best[way, uvloop][column] = min(best[way, uvloop][column], found)
        size = image.stat().st_size
    floor = best["sdk", False]
    print(f"CPU ms a request of {size * 4 / 3000:.0f} KB, best of {ROUNDS} rounds of {requests}")
    print(f"{'':<22}{'32 in flight':>14}{'ratio':>8}{'256 in flight':>16}{'ratio':>8}")
    for (way, uvloop), (few, many) in best.items():
        name = {"sdk": "SDK, messages.create", "ours": "ours, whole path"}[way] if not uvloop else f"{way} on uvloop"
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
    parser = argparse.ArgumentParser()
    parser.add_argument("requests", type=int, nargs="?", default=512)
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.alone:
        print(measured(chosen.alone))
        return
    table(chosen.requests)
    starts()


if __name__ == "__main__":
    main()
