"""The official SDK's batch calls against the stand-in, its answers parsed strictly."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, TypeVar

import anthropic
import pytest
from anthropic.types.messages import DeletedMessageBatch, MessageBatch, MessageBatchIndividualResponse
from pydantic import BaseModel, TypeAdapter
from support.asking import image_block, message_body

from pipeline.standin.server import StandinServer

StartStandin = Callable[..., StandinServer]
Sdk = Callable[[StandinServer], anthropic.Anthropic]
T = TypeVar("T", bound=BaseModel)


@pytest.fixture
def sdk() -> Iterator[Sdk]:
    """The official client, pointed at a stand-in, trying once."""
    with ExitStack() as stack:

        def pointed(server: StandinServer) -> anthropic.Anthropic:
            plain = stack.enter_context(anthropic.DefaultHttpxClient(verify=False))  # no TLS, no certificates to load
            return anthropic.Anthropic(api_key="sk-test", base_url=server.url, max_retries=0, http_client=plain)

        yield pointed


def asked(*names: str, **changes: Any) -> Any:
    """Requests of these names, each with a picture."""
    return [{"custom_id": name, "params": message_body(image_block(), "Describe it.", **changes)} for name in names]


def strict(raw: bytes, kind: type[T]) -> T:
    """The answer, valid to the last field and without one that the SDK does not know."""
    value = TypeAdapter(kind).validate_json(raw, strict=True)
    assert not list(extras(value))
    return value


def extras(value: Any) -> Iterator[str]:
    """Fields that a parsed value has beyond its type, at any depth; `details`, which the SDK types for some errors."""
    if isinstance(value, BaseModel):
        yield from set(value.model_extra or {}) - {"details"}
        value = list(dict(value).values())
    for part in value if isinstance(value, list) else ():
        yield from extras(part)


def ended(client: anthropic.Anthropic, batch_id: str) -> MessageBatch:
    """Polls until a batch has ended."""
    while (batch := client.messages.batches.retrieve(batch_id)).processing_status != "ended":
        assert batch.request_counts.processing > 0
    return batch


def test_create_and_retrieve_are_valid_to_the_last_field(start_standin: StartStandin, sdk: Sdk) -> None:
    """While it waits, while it is canceled, and when it has ended."""
    server = start_standin(batch_hold=True, batch_cancel_s=60)
    calls = sdk(server).messages.batches
    raw = calls.with_raw_response.create(requests=asked("a", "b"))
    batch = strict(raw.http_response.content, MessageBatch)
    assert (batch.processing_status, batch.request_counts.processing, batch.results_url) == ("in_progress", 2, None)
    assert set(json.loads(raw.http_response.content)) == set(MessageBatch.model_fields)
    canceling = strict(calls.with_raw_response.cancel(batch.id).http_response.content, MessageBatch)
    assert (canceling.processing_status, canceling.cancel_initiated_at is not None) == ("canceling", True)
    server.service.batches.advance(60)
    ended(sdk(server), batch.id)
    done = strict(calls.with_raw_response.retrieve(batch.id).http_response.content, MessageBatch)
    assert (done.processing_status, done.request_counts.canceled) == ("ended", 2)
    assert done.ended_at is not None


def test_all_four_kinds_of_results_are_read_and_valid(start_standin: StartStandin, sdk: Sdk) -> None:
    """By the SDK's own iterator, and each line strictly."""
    server = start_standin("item/529:at=2", "item/expired:at=3", "item/canceled:at=4")
    client = sdk(server)
    names = ["done", "failed", "late", "dropped"]
    batch = ended(client, client.messages.batches.create(requests=asked(*names)).id)
    results = {each.custom_id: each.result for each in client.messages.batches.results(batch.id)}
    assert {name: result.type for name, result in results.items()} == dict(
        zip(names, ["succeeded", "errored", "expired", "canceled"], strict=True)
    )
    done, failed = results["done"], results["failed"]
    assert done.type == "succeeded"
    assert done.message.content[0].type == "text"
    assert (done.message.usage.service_tier, done.message.stop_reason) == ("batch", "end_turn")
    assert failed.type == "errored"
    assert failed.error.error.type == "overloaded_error"
    assert batch.results_url is not None
    for line in client.get(batch.results_url, cast_to=str).splitlines():
        strict(line.encode(), MessageBatchIndividualResponse)


def test_a_mistake_in_params_is_read_as_an_error(start_standin: StartStandin, sdk: Sdk) -> None:
    """With the same class of error that a message would have had."""
    client = sdk(start_standin())
    batch = ended(client, client.messages.batches.create(requests=asked("a", max_tokens=0)).id)
    [each] = client.messages.batches.results(batch.id)
    assert each.result.type == "errored"
    assert each.result.error.error.type == "invalid_request_error"


def test_the_sdk_pages_through_all_batches(start_standin: StartStandin, sdk: Sdk) -> None:
    """Newest first, each once, valid on every page; backwards too."""
    server = start_standin(batch_hold=True)
    calls = sdk(server).messages.batches
    ids = [calls.create(requests=asked("a")).id for _ in range(5)][::-1]
    assert [batch.id for batch in calls.list(limit=2)] == ids
    assert [batch.id for batch in calls.list(limit=2, before_id=ids[4])] == [ids[2], ids[3], ids[0], ids[1]]
    for batch in json.loads(calls.with_raw_response.list(limit=2).http_response.content)["data"]:
        strict(json.dumps(batch).encode(), MessageBatch)


def test_a_deleted_batch_is_gone(start_standin: StartStandin, sdk: Sdk) -> None:
    """The SDK reads what is told of it, and its error after."""
    server = start_standin()
    client = sdk(server)
    batch = ended(client, client.messages.batches.create(requests=asked("a")).id)
    raw = client.messages.batches.with_raw_response.delete(batch.id)
    assert strict(raw.http_response.content, DeletedMessageBatch).id == batch.id
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.retrieve(batch.id)


def test_refusals_are_the_sdk_s_errors(start_standin: StartStandin, sdk: Sdk) -> None:
    """A wrong name, a running batch that is deleted, results that are not there yet, a full queue, a server's fault."""
    server = start_standin(batch_hold=True, batch_queue=2)
    client = sdk(server)
    with pytest.raises(anthropic.BadRequestError, match="custom_id"):
        client.messages.batches.create(requests=asked("not a name"))
    batch = client.messages.batches.create(requests=asked("a", "b"))
    with pytest.raises(anthropic.BadRequestError):
        client.messages.batches.delete(batch.id)
    with pytest.raises(anthropic.AnthropicError, match="results_url"):
        client.messages.batches.results(batch.id)
    with pytest.raises(anthropic.RateLimitError):
        client.messages.batches.create(requests=asked("c"))
    with pytest.raises(anthropic.InternalServerError):
        sdk(start_standin("create/529")).messages.batches.create(requests=asked("c"))
