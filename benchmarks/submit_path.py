"""The whole submit path of a run, from the prepared image to the durable row, as `bench_submit` measures it."""

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.serving import KEY, MODEL, PROMPT
from pipeline.api.catalogue import Catalogue, worst_cost_usd
from pipeline.api.client import Client, Question
from pipeline.api.messages import BodyWriter
from pipeline.api.transport import Endpoint, open_session
from pipeline.limits.pacer import Need, Pacer
from pipeline.records import ImageRecord, Item, Message, Outcome, PreparedImage
from pipeline.settings import SettingsLimits, SettingsRetry
from pipeline.store.dataset import open_dataset
from pipeline.store.ledger import DatasetSettings, Ledger, RunIdentity, open_ledger

__all__ = ["submit_path"]

HEADERS = {"x-api-key": KEY, "anthropic-version": "2023-06-01", "content-type": "application/json"}


class Ours:
    """One run, with its limits on."""

    def __init__(self, client: Client, pacer: Pacer, ledger: Ledger, image: PreparedImage) -> None:
        self._client = client
        self._pacer = pacer
        self._ledger = ledger
        self._image = image
        self._model = Catalogue().model(MODEL)
        self._writer = BodyWriter({"model": MODEL, "max_tokens": 300})

    async def submit(self, name: str) -> None:
        """One item: permit, body, HTTP, parse, journal, outcome."""
        async with self._pacer.place():
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


@asynccontextmanager
async def submit_path(
    url: str, raw: bytes, side_px: int, in_flight: int
) -> AsyncIterator[Callable[[str], Awaitable[None]]]:
    """A function that takes an item of this image, by its name, through the path."""
    record = ImageRecord("photo.jpg", sent_media_type="image/jpeg", sent_width=side_px, sent_height=side_px)
    limits = SettingsLimits(
        requests_per_minute=1_000_000,
        input_tokens_per_minute=10**10,
        output_tokens_per_minute=10**9,
        concurrency=in_flight,
    )
    with tempfile.TemporaryDirectory() as place:
        settings = DatasetSettings(Path(place) / "out")
        with open_dataset(settings) as journal:
            async with (
                open_ledger(journal, settings, RunIdentity("bench", "fingerprint")) as ledger,
                open_session(Endpoint(url, HEADERS, 60.0), in_flight + 2) as session,
            ):
                pacer = Pacer(limits)
                client = Client([session], pacer, ledger, Catalogue().model(MODEL), SettingsRetry())
                yield Ours(client, pacer, ledger, PreparedImage(raw, record)).submit
