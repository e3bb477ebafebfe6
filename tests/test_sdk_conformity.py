"""The official SDK as judge: it reads what the stand-in answers, and its request types take what the client writes."""

import json
import types
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, Required, Union, get_args, get_origin

import anthropic
import httpx
import pytest
from anthropic.types import Message as SdkMessage
from anthropic.types import ModelInfo
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from pydantic import TypeAdapter
from support.asking import HEADERS, image_block, picture
from typing_extensions import get_type_hints, is_typeddict

from pipeline.api.catalogue import Catalogue
from pipeline.api.combinations import refusals
from pipeline.api.messages import parse_answer
from pipeline.config import load_config
from pipeline.engines.plan import plan_run
from pipeline.prompts.plan import TurnPlan
from pipeline.records import Block, ImageLink, ImageRecord, Message, PreparedImage, ToolResult
from pipeline.standin.server import StandinServer

StartStandin = Callable[..., StandinServer]
Sdk = Callable[[StandinServer], anthropic.Anthropic]
CATALOGUE = Catalogue()
QUESTION: Any = [{"role": "user", "content": "Hello?"}]


@pytest.fixture
def sdk() -> Iterator[Sdk]:
    """The official client, pointed at a stand-in, trying once."""
    with ExitStack() as stack:

        def pointed(server: StandinServer) -> anthropic.Anthropic:
            plain = stack.enter_context(anthropic.DefaultHttpxClient(verify=False))  # no TLS, no certificates to load
            return anthropic.Anthropic(api_key="sk-test", base_url=server.url, max_retries=0, http_client=plain)

        yield pointed


# What the stand-in answers, read by the SDK


def test_the_sdk_captions_pictures_over_several_turns(start_standin: StartStandin, sdk: Sdk) -> None:
    """System prompt, labelled pictures, an earlier reply: the answer parses and states the pictures."""
    client = sdk(start_standin())
    turns: Any = [
        {"role": "user", "content": ["Image 1:", image_block(picture(90, 60)), "Image 2:", image_block()]},
        {"role": "assistant", "content": "Two pictures."},
        {"role": "user", "content": "And in one sentence?"},
    ]
    turns[0]["content"] = [{"type": "text", "text": x} if isinstance(x, str) else x for x in turns[0]["content"]]
    message = client.messages.create(
        model="claude-haiku-5-5", max_tokens=200, system="Be brief.", messages=turns, thinking={"type": "disabled"}
    )
    assert isinstance(message, SdkMessage)
    [block] = message.content
    assert block.type == "text"
    assert "90x60" in block.text
    assert message.stop_reason == "end_turn"
    assert message.usage.output_tokens > 0
    assert message.usage.cache_creation is not None


@pytest.mark.parametrize("name", ["claude-sonnet-5-5", "claude-haiku-4-5"])
def test_an_answer_is_valid_to_the_last_field(start_standin: StartStandin, sdk: Sdk, name: str) -> None:
    """Strict validation of the raw JSON against the SDK's message type finds nothing to complain of."""
    client = sdk(start_standin())
    raw = client.messages.with_raw_response.create(model=name, max_tokens=200, messages=QUESTION)
    adapter = TypeAdapter(SdkMessage)
    message = adapter.validate_json(raw.http_response.content, strict=True)
    assert set(json.loads(raw.http_response.content)) <= set(SdkMessage.model_fields)
    assert not message.model_extra
    assert not message.usage.model_extra


def test_structured_output_and_forced_tools_parse(start_standin: StartStandin, sdk: Sdk) -> None:
    """Both ways to an object lead to one that the schema allows."""
    client = sdk(start_standin())
    schema = {
        "type": "object",
        "properties": {"caption": {"type": "string"}},
        "required": ["caption"],
        "additionalProperties": False,
    }
    message = client.messages.create(
        model="claude-haiku-4-5",
        max_tokens=200,
        messages=QUESTION,
        output_config={"format": {"type": "json_schema", "schema": schema}},
    )
    assert message.content[0].type == "text"
    assert set(json.loads(message.content[0].text)) == {"caption"}
    used = client.messages.create(
        model="claude-haiku-4-5",
        max_tokens=200,
        messages=QUESTION,
        tools=[{"name": "record", "input_schema": schema, "strict": True}],  # type: ignore[typeddict-item]
        tool_choice={"type": "tool", "name": "record", "disable_parallel_tool_use": True},
    )
    assert (used.stop_reason, used.content[0].type) == ("tool_use", "tool_use")


def test_a_count_is_the_usage_of_the_message(start_standin: StartStandin, sdk: Sdk) -> None:
    """What the SDK counts is what it is billed for."""
    client = sdk(start_standin())
    content: Any = [{"role": "user", "content": [image_block(picture(300, 200))]}]
    counted = client.messages.count_tokens(model="claude-haiku-4-5", messages=content, system="Be brief.")
    message = client.messages.create(model="claude-haiku-4-5", max_tokens=9, messages=content, system="Be brief.")
    assert counted.input_tokens == message.usage.input_tokens


def test_the_sdk_pages_through_all_models(start_standin: StartStandin, sdk: Sdk) -> None:
    """Every model arrives once, each valid to the last required field."""
    client = sdk(start_standin())
    found = list(client.models.list(limit=4))
    assert {model.id for model in found} == {CATALOGUE.model(name).id for name in CATALOGUE.names}
    raw = client.models.with_raw_response.list(limit=100).http_response.json()
    for model in raw["data"]:
        TypeAdapter(ModelInfo).validate_json(json.dumps(model), strict=True)
    assert client.models.retrieve("claude-haiku-4-5").max_input_tokens == 200_000


def test_headers_are_within_the_sdk_s_reach(start_standin: StartStandin, sdk: Sdk) -> None:
    """Limits and the request's id are read from the raw answer and from the message."""
    client = sdk(start_standin(requests_per_minute=600))
    raw = client.messages.with_raw_response.create(model="claude-haiku-4-5", max_tokens=20, messages=QUESTION)
    assert raw.headers["anthropic-ratelimit-requests-limit"] == "600"
    assert raw.parse()._request_id == raw.headers["request-id"]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, anthropic.BadRequestError),
        (401, anthropic.AuthenticationError),
        (403, anthropic.PermissionDeniedError),
        (404, anthropic.NotFoundError),
        (409, anthropic.ConflictError),
        (422, anthropic.UnprocessableEntityError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
        (503, anthropic.InternalServerError),
        (529, anthropic.InternalServerError),
    ],
)
def test_each_status_is_the_sdk_s_error(
    start_standin: StartStandin, sdk: Sdk, status: int, error: type[anthropic.APIStatusError]
) -> None:
    """The class goes by the status, and the body's type, details and id are where the SDK looks for them."""
    client = sdk(start_standin(f"{status}:code=scripted"))
    with pytest.raises(error) as caught:
        client.messages.create(model="claude-haiku-4-5", max_tokens=20, messages=QUESTION)
    assert caught.value.request_id
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["error"]["details"] == {"error_code": "scripted"}
    assert caught.value.body["request_id"] == caught.value.request_id


def test_the_sdk_retries_what_it_is_told_to(start_standin: StartStandin, sdk: Sdk) -> None:
    """Two refusals that ask for a retry are followed by an answer, one that forbids it is final."""
    server = start_standin("529:first=2,retry_after=0.01")
    client = sdk(server).with_options(max_retries=2)
    assert client.messages.create(model="claude-haiku-4-5", max_tokens=20, messages=QUESTION).stop_reason
    server = start_standin("500:first=1,should_retry=false")
    with pytest.raises(anthropic.InternalServerError):
        sdk(server).with_options(max_retries=2).messages.create(
            model="claude-haiku-4-5", max_tokens=20, messages=QUESTION
        )
    assert server.service.counts["requests"] == 1


def test_a_broken_connection_is_the_sdk_s_connection_error(start_standin: StartStandin, sdk: Sdk) -> None:
    """A reset reaches the SDK as what it is."""
    with pytest.raises(anthropic.APIConnectionError):
        sdk(start_standin("reset")).messages.create(model="claude-haiku-4-5", max_tokens=20, messages=QUESTION)


# What the client writes, judged by the SDK's request types


def complaints(value: Any, kind: Any, place: str = "body") -> list[str]:
    """Where a JSON value breaks a type of the SDK: like a type checker, with unknown keys forbidden."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Required, NotRequired, Annotated):
        return complaints(value, parts[0], place)
    if kind is Any or kind is object:
        return []
    if origin in (Union, types.UnionType):
        tries = [complaints(value, part, place) for part in parts]
        return min(tries, key=len)
    if origin is Literal:
        return [] if value in parts else [f"{place}: {value!r} is not in {parts}"]
    if is_typeddict(kind):
        return _typed_dict_complaints(value, kind, place)
    if origin is not None and issubclass(origin, Mapping):
        return [] if isinstance(value, dict) else [f"{place}: no mapping"]
    if (origin is not None and issubclass(origin, Iterable)) or getattr(origin, "__name__", "") == "SequenceNotStr":
        if not isinstance(value, list):
            return [f"{place}: no list"]
        return [found for n, part in enumerate(value) for found in complaints(part, parts[0], f"{place}.{n}")]
    good = type(value) is kind or (kind is float and type(value) is int)
    return [] if good else [f"{place}: no {kind}"]


def _typed_dict_complaints(value: Any, kind: Any, place: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{place}: no object"]
    hints = _hints(kind)
    needed = {key for key, hint in hints.items() if get_origin(hint) is Required}
    found = [f"{place}.{key}: missing" for key in needed if key not in value]
    found += [f"{place}.{key}: unknown" for key in value if key not in hints]
    return found + [
        each for key, part in value.items() if key in hints for each in complaints(part, hints[key], f"{place}.{key}")
    ]


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def image(width: int, height: int, name: str, media_type: str) -> PreparedImage:
    """A picture as preparation hands it on."""
    raw = picture(width, height, name)
    record = ImageRecord("x", sent_media_type=media_type, sent_width=width, sent_height=height, sent_bytes=len(raw))
    return PreparedImage(raw, record)


def linked(kind: Any, target: str) -> PreparedImage:
    """A picture that does not travel in the request; a file's id is filled in once a server has it."""
    return PreparedImage(b"", ImageRecord("x", sent_width=90, sent_height=60), link=ImageLink(kind, target))


def uploaded(server: StandinServer) -> str:
    """The id of a picture at a server."""
    files = {"file": ("a.png", picture(), "image/png")}
    answer = httpx.post(f"{server.url}/v1/files", files=files, headers=HEADERS, timeout=20, verify=False)
    return str(answer.json()["id"])


ONE = image(90, 60, "JPEG", "image/jpeg")
TWO = image(60, 90, "PNG", "image/png")
THREE = image(30, 30, "WEBP", "image/webp")
PLANS = {
    "text alone": (TurnPlan(("What is a caption?",), ((),)), []),
    "one image": (TurnPlan(("Describe it.",), ((ONE,),)), []),
    "several images": (TurnPlan(("Compare “them” — 😀\n\u2028.",), ((ONE, TWO, THREE),)), []),
    "unlabelled": (TurnPlan(("Compare them.",), ((ONE, TWO),), label=False), []),
    "second turn": (TurnPlan(("Describe it.", "Shorter."), ((ONE,), (TWO,))), ["A picture."]),
    "prefill": (TurnPlan(("Describe it.",), ((ONE,),), prefill="The picture shows"), []),
    "two links": (
        TurnPlan(("Compare.",), ((linked("url", "https://example.com/a.jpg"), linked("file", ""), ONE),)),
        [],
    ),
    "a tool's turn": (TurnPlan(("Read the sign.",), ((ONE,),)), []),
}
EVERY_PLAN = ("plain", "cached examples", "tools")
COMMON = ("one image", "several images", "second turn", "prefill", "text alone")
"""With the other settings these are enough: settings and messages are written apart."""
TOOL_TURN = [
    Message(
        "assistant",
        tuple(Block({"type": "tool_use", "id": f"toolu_{n}", "name": "zoom", "input": {"left": n}}) for n in (1, 2)),
    ),
    Message("user", (ToolResult("toolu_1", ("The crop:", TWO)), ToolResult("toolu_2", ("no",), is_error=True))),
]
SAMPLING = ("temperature", "top_p", "top_k")
"""Still served under the older version of the API, and gone from the SDK's types."""
EXAMPLE = "prompt.examples=[{image='example.jpg', user='What is it?', assistant='Four fields. '}]"
LONG = f"prompt.system={'Write one sentence. ' * 1000}"
MINIMUM = 'models."MODEL".cache_minimum_tokens=1'
SETTINGS = {
    "plain": [],
    "system": ["prompt.system=Be brief."],
    "sampling": ["api.temperature=0.2", "api.top_k=5"],
    "top_p": ["api.top_p=0.9"],
    "stops": ['api.stop_sequences=["END"]', "api.service_tier=standard_only"],
    **{kind: [f'api.thinking={{type="{kind}"}}'] for kind in ("adaptive", "disabled", "between_tools")},
    "enabled": ['api.thinking={type="enabled", budget_tokens=1024}'],
    **{f"schema by {via}": ["prompt.schema=schema.json", f"prompt.schema_via={via}"] for via in ("output", "tool")},
    "examples": [EXAMPLE],
    "tools": ["prompt.tools=['zoom']"],
    "tools and schema": ["prompt.tools=['zoom']", "prompt.schema=schema.json"],
    "cached system": [LONG, "prompt.cache=true"],
    "cached examples": [LONG, EXAMPLE, "prompt.cache=true"],
    "cached tool": ["prompt.cache=true", "prompt.schema=schema.json", "prompt.schema_via=tool", MINIMUM],
}
SCHEMA = {
    "type": "object",
    "properties": {
        "caption": {"type": "string", "maxLength": 400, "pattern": "^[A-Z]"},
        "tags": {"type": "array", "items": {"enum": ["sea", "sky"]}, "minItems": 2},
        "people": {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]},
    },
    "required": ["caption", "tags"],
}


def bodies(folder: Path, name: str, file_id: str = "file_x") -> dict[str, bytes]:
    """Every body that the client would send to a model, whatever its settings may be; in the working directory."""
    path = folder / "config.toml"
    (folder / "schema.json").write_text(json.dumps(SCHEMA))
    (folder / "example.jpg").write_bytes(ONE.body)
    path.write_text(
        f'[manifest]\npath = "m.csv"\n[api]\nmodel = "{name}"\nmax_tokens = 2000\n'
        f'[prompt]\nuser = "x"\n[output]\npath = "out"\n'
    )
    written, model = {}, CATALOGUE.model(name)
    for setting, overrides in SETTINGS.items():
        for prefill in ([], ["prompt.prefill=The picture shows"]):
            given = [each.replace("MODEL", name) for each in (*overrides, *prefill)]
            config = load_config(path, given, environ={})
            if refusals(config, model):
                continue
            writer = plan_run(config, {"ANTHROPIC_API_KEY": "sk-test"}).writers.usual
            for label, (plan, replies) in PLANS.items():
                if bool(plan.prefill) == bool(prefill) and (setting in EVERY_PLAN or label in COMMON):
                    messages = [*plan.messages(replies), *(TOOL_TURN if label == "a tool's turn" else ())]
                    raw = writer.body(messages).replace(b'"file_id": ""', f'"file_id": "{file_id}"'.encode())
                    written[f"{setting}, {label}"] = raw
    return written


@pytest.mark.parametrize("name", CATALOGUE.names)
def test_the_sdk_s_types_and_the_stand_in_take_every_body(
    start_standin: StartStandin, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the client does not refuse for a model itself has the SDK's shape, is answered, and is read back."""
    monkeypatch.chdir(tmp_path)
    server = start_standin(log=None)
    written = bodies(tmp_path, name, uploaded(server))
    assert {"plain, one image", "system, second turn", "stops, several images"} <= set(written)
    assert {"schema by output, one image", "cached examples, two links", "tools, a tool's turn"} <= set(written)
    assert ("schema by tool, one image" in written) == CATALOGUE.model(name).forced_tools
    assert ("plain, prefill" in written) == CATALOGUE.model(name).prefill
    assert ("sampling, text alone" in written) == CATALOGUE.model(name).sampling
    headers = {**HEADERS, "content-type": "application/json"}
    with httpx.Client(headers=headers, timeout=20, verify=False) as client:
        for label, raw in written.items():
            body = json.loads(raw)
            no_longer_typed = [f"body.{key}: unknown" for key in body if key in SAMPLING]
            assert (label, complaints(body, MessageCreateParamsNonStreaming)) == (label, no_longer_typed)
            answer = client.post(f"{server.url}/v1/messages", content=raw)
            assert (label, answer.status_code, answer.text[:300] * (answer.status_code != 200)) == (label, 200, "")
            assert parse_answer(answer.content).usage.output_tokens > 0


def test_images_and_texts_arrive_byte_for_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the body holds is what was prepared, in order, with its labels."""
    monkeypatch.chdir(tmp_path)
    raw = bodies(tmp_path, "claude-haiku-4-5")["plain, several images"]
    [message] = json.loads(raw)["messages"]
    assert [block.get("text") for block in message["content"]] == [
        *("Image 1:", None, "Image 2:", None, "Image 3:", None),
        "Compare “them” — 😀\n\u2028.",
    ]
    sent = [block["source"] for block in message["content"] if block["type"] == "image"]
    assert [source["data"] for source in sent] == [b64encode(each.body).decode() for each in (ONE, TWO, THREE)]
    assert [source["media_type"] for source in sent] == ["image/jpeg", "image/png", "image/webp"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"max_tokens": "9"}, "body.max_tokens: no"),
        ({"prompt": "x"}, "body.prompt: unknown"),
        ({"messages": [{"role": "user"}]}, "body.messages.0.content: missing"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "body.messages.0"),
        ({"thinking": {"type": "disabled", "budget_tokens": 9}}, "body.thinking"),
        ({"temperature": 0.5}, None),
    ],
)
def test_the_judge_itself_finds_faults(change: dict[str, Any], said: str | None) -> None:
    """The strict walk over the SDK's types complains of wrong, missing and unknown fields."""
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}], **change}
    found = complaints(body, MessageCreateParamsNonStreaming)
    assert found
    assert said is None or any(each.startswith(said) for each in found)
