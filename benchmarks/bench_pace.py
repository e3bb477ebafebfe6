"""How much of a rate limit is used, and how often it is tripped: ours, the official SDK in a loop, and flexllm.

All of them ask the same strict server, which holds one second of its rate, one after the other, with latencies of 0.2
to 3 s and images of mixed sizes; figures are the server's own account of the window named in the table's head. The SDK
runs as everyone runs it, in a loop with a semaphore of 64, with its default of two retries and with ten. flexllm is
given the very limit as its queries a second, the best it can be told. Ours is given the limits (known) or nothing
(auto; with `--cold` its window begins with its first, lonely request).

Run as `python -m benchmarks.bench_pace [--quick] [--seconds S] [--warm-up S] [--burst S] [--scale X] [--limits NAMES]
[--clients NAMES] [--cold] [--two]`; `--two` measures two runs on one key, side by side, `--scale 0.05` the limits of a
small account: a request a second. The last column is the machine's load, for figures from a machine that is shared.
"""

import argparse
import asyncio
import csv
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
from pyarrow.dataset import dataset

from benchmarks.serving import KEY, MODEL, PROMPT, answers, environment, message, photograph, served

LIMITS = {
    "requests": ("--requests-per-minute", 1200),
    "input": ("--input-tokens-per-minute", 600_000),
    "output": ("--output-tokens-per-minute", 24_000),
}
KEYS = {
    "requests": "requests_per_minute",
    "input": "input_tokens_per_minute",
    "output": "output_tokens_per_minute",
}
SIZES = ((280, 210), (448, 336), (512, 768), (768, 768), (1024, 680), (1092, 1092))
IMAGES = 24
IN_FLIGHT = 64


@dataclass
class Trial:
    """One client on one server.

    Attributes:
        window_s: begin and end of what is measured, in seconds since the first request.
        per_minute: the limit.
    """

    limit: str
    folder: Path
    images: list[Path]
    url: str
    seconds: float
    window_s: tuple[float, float]
    per_minute: int
    failed: int = 0


def parse(words: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="request-bound alone, about a minute")
    parser.add_argument("--seconds", type=float, default=16.0, help="of one trial")
    parser.add_argument("--warm-up", type=float, default=5.0)
    parser.add_argument("--burst", type=float, default=1.0, help="seconds of its rate that the server holds")
    parser.add_argument("--scale", type=float, default=1.0, help="the limits are so many times the usual ones")
    parser.add_argument("--limits", default="requests,input,output")
    parser.add_argument("--clients", default="ours,ours-auto,sdk,sdk-10,flexllm")
    parser.add_argument("--cold", action="store_true", help="the window of auto begins with its first request")
    parser.add_argument("--two", action="store_true", help="two runs on one key instead")
    chosen = parser.parse_args(words)
    if chosen.quick:
        chosen.limits, chosen.seconds, chosen.warm_up = "requests", min(chosen.seconds, 9.0), min(chosen.warm_up, 4.0)
    return chosen


def configuration(trial: Trial, name: str, *, known: bool) -> Path:
    """Our configuration: a manifest longer than the trial, and the limit or nothing."""
    folder = trial.folder / name
    folder.mkdir()
    rows = int(40 * trial.seconds) + 500
    with (folder / "photos.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "image"])
        writer.writerows([f"{number}", trial.images[number % IMAGES]] for number in range(rows))
    limits = {key: trial.per_minute if limit == trial.limit else "off" for limit, key in KEYS.items()}
    path = folder / "job.toml"
    lines = [
        "[manifest]",
        f"path = {json.dumps(str(folder / 'photos.csv'))}",
        f"root = {json.dumps(str(trial.images[0].parent))}",
        "[api]",
        f"base_url = {json.dumps(trial.url)}",
        f'model = "{MODEL}"',
        "max_tokens = 300",
        "[prompt]",
        f"user = {json.dumps(PROMPT.replace('{number}', '{{ id }}'))}",
        "[limits]",
        *(f"{key} = {json.dumps(value)}" for key, value in (limits.items() if known else ())),
        "[retry]",
        "drain_seconds = 5.0",
        "[output]",
        f"path = {json.dumps(str(folder / 'out'))}",
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def ours(trial: Trial, *, known: bool, runs: int = 1) -> None:
    """The program itself, as users start it: journal, Parquet and all."""
    command = [sys.executable, "-m", "pipeline", "run", "--json", "--progress", "none"]
    processes = []
    for number in range(runs):
        path = configuration(trial, f"ours-{number}", known=known)
        processes.append(
            subprocess.Popen(
                [*command, str(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment()
            )
        )
    patience = time.monotonic() + 30
    while not answers(trial.folder / "server.jsonl") and time.monotonic() < patience:
        time.sleep(0.05)
    time.sleep(trial.seconds)
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        trial.failed += json.loads(process.communicate(timeout=60)[0])["items"]["failed"]


async def sdk(trial: Trial, retries: int) -> None:
    """The loop that everyone writes."""
    bodies = [path.read_bytes() for path in trial.images]
    free = asyncio.Semaphore(IN_FLIGHT)
    async with anthropic.AsyncAnthropic(api_key=KEY, base_url=trial.url, max_retries=retries) as client:

        async def one(number: int) -> None:
            async with free:
                try:
                    await client.messages.create(**message(bodies[number % IMAGES], number))
                except anthropic.APIError:
                    trial.failed += 1

        await for_a_while(trial, one)


async def flexllm(trial: Trial) -> None:
    """The best single-machine peer."""
    from flexllm.clients.claude import ClaudeClient  # noqa: PLC0415 - an extra

    qps = trial.per_minute / 60 if trial.limit == "requests" else 1200 / 60
    client = ClaudeClient(
        api_key=KEY, model=MODEL, base_url=f"{trial.url}/v1", concurrency_limit=IN_FLIGHT, max_qps=max(1, round(qps))
    )
    contents = [message(path.read_bytes(), 0)["messages"][0]["content"][0]["source"]["data"] for path in trial.images]

    def asked(number: int) -> list[dict[str, Any]]:
        image = {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{contents[number % IMAGES]}"}}
        text = {"type": "text", "text": PROMPT.format(number=number)}
        return [{"role": "user", "content": [image, text]}]

    rows = [asked(number) for number in range(int(25 * trial.seconds))]
    kept = trial.folder / "flexllm.jsonl"
    asking = client.chat_completions_batch(
        rows, max_tokens=300, show_progress=False, output_jsonl=str(kept), save_input=False, flush_interval=0.5
    )
    task = asyncio.create_task(asking)
    await asyncio.wait([task], timeout=trial.seconds)
    task.cancel()
    await asyncio.wait([task], timeout=5)
    results = [json.loads(line) for line in kept.read_text("utf-8").splitlines()]
    trial.failed += sum(result.get("status") == "error" for result in results)


async def for_a_while(trial: Trial, one: Callable[[int], Awaitable[None]]) -> None:
    """Keeps twice as many tasks as may be in flight going until the time is over."""
    numbers = iter(range(10**9))
    ends = time.monotonic() + trial.seconds

    async def keep() -> None:
        while time.monotonic() < ends:
            await one(next(numbers))

    tasks = [asyncio.create_task(keep()) for _ in range(2 * IN_FLIGHT)]
    await asyncio.wait(tasks, timeout=trial.seconds + 1)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def measured(trial: Trial) -> tuple[float, float, float, int]:
    """Utilisation, rejections as a part of the answers, images a second, and answers, in the window."""
    lines = answers(trial.folder / "server.jsonl")
    first = min(line["clock"] for line in lines)
    begin, end = (first + moment for moment in trial.window_s)
    inside = [line for line in lines if begin <= line["clock"] < end]
    good = [line for line in inside if line["status"] == 200]
    column = {"input": "input_tokens", "output": "output_tokens"}.get(trial.limit)
    spent = sum(line[column] if column else 1 for line in good)
    seconds = trial.window_s[1] - trial.window_s[0]
    rejected = sum(line["status"] == 429 for line in inside)
    return spent / (trial.per_minute * seconds / 60), rejected / max(1, len(good)), len(good) / seconds, len(good)


def run(name: str, limit: str, images: list[Path], chosen: argparse.Namespace) -> str:
    """One trial; its line of the table."""
    if name == "flexllm" and importlib.util.find_spec("flexllm") is None:
        return f"{name:<12}{limit:<10} not installed"
    is_auto = name == "ours-auto" or chosen.two
    with tempfile.TemporaryDirectory() as place:
        option, rate = LIMITS[limit]
        rate = round(rate * chosen.scale)
        server = ["--latency", "0.2,3", option, str(rate), "--burst-seconds", str(chosen.burst)]
        with served(Path(place) / "server.jsonl", *server) as url:
            begin = 0.0 if is_auto and chosen.cold else chosen.warm_up
            trial = Trial(limit, Path(place), images, url, chosen.seconds, (begin, chosen.seconds), rate)
            if name.startswith("ours"):
                ours(trial, known=not is_auto, runs=2 if chosen.two else 1)
            elif name == "flexllm":
                asyncio.run(flexllm(trial))
            else:
                asyncio.run(sdk(trial, 10 if name == "sdk-10" else anthropic.DEFAULT_MAX_RETRIES))
        used, rejected, speed, _ = measured(trial)
        parts = shares(trial) if chosen.two else ""
    load = os.getloadavg()[0]
    return f"{name:<12}{limit:<10}{used:>11.3f}{rejected:>12.2%}{trial.failed:>10}{speed:>10.1f}{load:>6.1f}  {parts}"


def shares(trial: Trial) -> str:
    """What each run got, in images a second, by the request ids that its own dataset holds."""
    lines = [line for line in answers(trial.folder / "server.jsonl") if line["status"] == 200]
    first = min(line["clock"] for line in lines)
    seconds = trial.window_s[1] - trial.window_s[0]
    sent = []
    for number in range(2):
        parts = trial.folder / f"ours-{number}" / "out" / "requests"
        ids = set(dataset(parts).to_table(columns=["request_id"])["request_id"].to_pylist())
        mine = [line for line in lines if line["request_id"] in ids and line["clock"] - first >= trial.window_s[0]]
        sent.append(sum(line["clock"] - first < trial.window_s[1] for line in mine) / seconds)
    return f"each {sent[0]:.1f} and {sent[1]:.1f} images/s"


def main() -> None:
    """Prints the table."""
    chosen = parse(sys.argv[1:])
    with tempfile.TemporaryDirectory() as place:
        images = []
        for number in range(IMAGES):
            images.append(Path(place) / f"{number}.jpg")
            images[-1].write_bytes(photograph(*SIZES[number % len(SIZES)], number, 70))
        rates = ", ".join(f"{rate * chosen.scale:,.0f} {name}" for name, (_, rate) in LIMITS.items())
        print(f"server: {rates} a minute, one of them at a time, {chosen.burst:g} s of it in its bucket")
        cold = ", auto from 0 s" if chosen.cold else ""
        print(f"window: {chosen.warm_up:g} to {chosen.seconds:g} s after the first request{cold}")
        print(f"{'client':<12}{'bound by':<10}{'utilisation':>11}{'rejections':>12}{'failures':>10}", end="")
        print(f"{'images/s':>10}{'load':>6}")
        for limit in chosen.limits.split(","):
            for name in ["ours-auto"] if chosen.two else chosen.clients.split(","):
                print(run(name, limit, images, chosen), flush=True)


if __name__ == "__main__":
    main()
