"""CPU that one request of 200 KB costs, by what carries it: httpx's own transport, httpx-aiohttp, and our session.

The stand-in answers in another process, so its CPU is not counted; all three are measured in one run against the same
server, in alternating rounds, so that their ratio holds where absolute figures change with the machine. Latency is
added so that the wanted number is really in flight.

Run as `python benchmarks/bench_transport.py [REQUESTS]`.
"""

import multiprocessing
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from multiprocessing.connection import Connection

import anyio
import httpx
from PIL import Image

from pipeline.api.messages import BodyWriter
from pipeline.api.transport import Endpoint, open_session
from pipeline.records import ImageRecord, Message, PreparedImage
from pipeline.standin.options import StandinOptions
from pipeline.standin.server import StandinServer

HEADERS = {"x-api-key": "benchmark", "anthropic-version": "2023-06-01", "content-type": "application/json"}
IMAGE_BYTES = 150_000
ROUNDS = 4
Post = Callable[[bytes], Awaitable[int]]


def serve(pipe: Connection) -> None:
    """The other process: tells its address, and ends when it is told to."""
    with StandinServer(StandinOptions(latency_s=(0.05, 0.1))) as server:
        pipe.send(server.url)
        pipe.recv()


def body_of_200_kb() -> bytes:
    """A caption request around a noisy JPEG that fills 200 KB once it is base64."""
    noise = Image.frombytes("RGB", (512, 384), random.Random(1).randbytes(512 * 384 * 3))
    quality = 95
    while True:
        sink = BytesIO()
        noise.save(sink, "JPEG", quality=quality)
        if sink.tell() <= IMAGE_BYTES:
            break
        quality -= 1
    record = ImageRecord("noise", sent_media_type="image/jpeg", sent_width=512, sent_height=384)
    turn = Message("user", (PreparedImage(sink.getvalue(), record), "Describe this image."))
    return BodyWriter({"model": "claude-haiku-4-5", "max_tokens": 100}).body([turn])


@asynccontextmanager
async def plain_httpx(url: str, in_flight: int) -> AsyncIterator[Post]:
    """The library as it comes, on httpcore."""
    limits = httpx.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
    async with httpx.AsyncClient(base_url=url, headers=HEADERS, timeout=60, limits=limits) as client:

        async def post(body: bytes) -> int:
            return (await client.post("/v1/messages", content=body)).status_code

        yield post


@asynccontextmanager
async def httpx_aiohttp(url: str, in_flight: int) -> AsyncIterator[Post]:
    """The library on aiohttp's transport, as it comes."""
    from httpx_aiohttp import AiohttpTransport  # noqa: PLC0415 - of the bench extra, which the tests do without

    transport = AiohttpTransport(limits=httpx.Limits(max_connections=in_flight))
    async with httpx.AsyncClient(base_url=url, headers=HEADERS, timeout=60, transport=transport) as client:

        async def post(body: bytes) -> int:
            return (await client.post("/v1/messages", content=body)).status_code

        yield post


@asynccontextmanager
async def our_session(url: str, in_flight: int) -> AsyncIterator[Post]:
    """What the program uses: the same transport, with a total deadline, bounded answers and masked keys."""
    async with open_session(Endpoint(url, HEADERS, 60), in_flight) as session:

        async def post(body: bytes) -> int:
            return (await session.post("/v1/messages", body)).status

        yield post


async def cpu_ms(carrier: Callable[[str, int], object], url: str, body: bytes, in_flight: int, requests: int) -> float:
    """CPU milliseconds of this process a request, once the connections stand."""
    async with carrier(url, in_flight) as post:  # type: ignore[attr-defined]

        async def send(count: int) -> None:
            for _ in range(count):
                status = await post(body)
                if status != 200:
                    raise RuntimeError(f"the stand-in answered {status}")

        async def all_at_once(each: int) -> None:
            async with anyio.create_task_group() as group:
                for _ in range(in_flight):
                    group.start_soon(send, each)

        await all_at_once(1)
        each = max(1, requests // in_flight)
        started = time.process_time()
        await all_at_once(each)
        return (time.process_time() - started) * 1000 / (each * in_flight)


def main() -> None:
    """Prints the table."""
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 384
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    url, body = mine.recv(), body_of_200_kb()
    carriers = {"httpx": plain_httpx, "httpx-aiohttp": httpx_aiohttp, "our session": our_session}
    print(f"CPU ms a POST of {len(body) / 1000:.0f} KB, best of {ROUNDS} rounds of {requests} requests")
    print(f"{'carrier':<16}{'32 in flight':>14}{'ratio':>8}{'256 in flight':>16}{'ratio':>8}")
    best: dict[str, list[float]] = {name: [float("inf")] * 2 for name in carriers}
    for _ in range(ROUNDS):
        for column, in_flight in enumerate((32, 256)):
            for name, carrier in carriers.items():
                found = anyio.run(cpu_ms, carrier, url, body, in_flight, requests)
                best[name][column] = min(best[name][column], found)
    floor = best["httpx"]
    for name, (few, many) in best.items():
        print(f"{name:<16}{few:>14.2f}{few / floor[0]:>8.2f}{many:>16.2f}{many / floor[1]:>8.2f}")
    mine.send(None)
    process.join(timeout=10)


if __name__ == "__main__":
    main()
