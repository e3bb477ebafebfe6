"""Everything about a run that its configuration decides, worked out and checked before anything is opened.

`check` and `run` share it, so that what `check` passes is what `run` does.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pipeline.api.body import TRUNCATED_FACTOR, body_settings
from pipeline.api.catalogue import Catalogue, Model
from pipeline.api.combinations import refusals, remarks
from pipeline.api.messages import CACHE_MARK, CACHE_MARK_HOUR, BodyWriter
from pipeline.api.prefix import SharedPrefix, body_writer
from pipeline.api.transport import Endpoint
from pipeline.config import EMBEDDED, api_keys, prompt_text, unbuilt
from pipeline.engines.examples import example_hashes, example_images, example_messages
from pipeline.engines.preparing import Preparer, Room
from pipeline.errors import ConfigError
from pipeline.fingerprint import fingerprint
from pipeline.images.decoders import Decoders
from pipeline.images.fetch import FetchSettings
from pipeline.images.geometry import MAX_SIDE_PX, Bounds
from pipeline.images.memory import most_bytes
from pipeline.images.prepare import PrepareSettings
from pipeline.images.sources import ImageSource, SourceSettings, root_of
from pipeline.manifest.producer import Manifest, ManifestSettings
from pipeline.prompts.plan import image_columns
from pipeline.prompts.schemas import AnswerSchema
from pipeline.prompts.templates import Templates
from pipeline.prompts.tools import Tool, load_tools
from pipeline.records import Message
from pipeline.settings import Config
from pipeline.store.buckets import place_of
from pipeline.store.ledger import DatasetSettings

__all__ = ["RunPlan", "Writers", "plan_run"]

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Writers:
    """The writers of bodies: with the usual cap, and with the larger one for an answer that was cut off."""

    usual: BodyWriter
    larger: BodyWriter
    max_tokens: int
    largest_tokens: int

    @property
    def usual_one(self) -> tuple[BodyWriter, int]:
        """The writer with the usual cap, and the cap."""
        return self.usual, self.max_tokens

    @property
    def larger_one(self) -> tuple[BodyWriter, int]:
        """The writer with the larger cap, and the cap."""
        return self.larger, self.largest_tokens


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run will do; nothing is open yet.

    Attributes:
        keys: sent to the service, one for each endpoint, `None` for none; never shown.
        writers: of the bodies of the last turn, which answers by the schema where there is one.
        opening: of the bodies of the turns before it.
        closing: of either, by whether it is the last, once the model may call tools no more.
        prefix: what all requests share.
        remarks: what works and should be known, one line each.
        tools: what the model may call.
        schema: `prompt.schema`, `None` where there is none.
        examples: the few-shot messages.
    """

    config: Config = field(repr=False)  # the user's own headers may hold secrets
    model: Model
    fingerprint: str
    keys: tuple[str | None, ...] = field(repr=False)
    manifest: ManifestSettings
    images: PrepareSettings
    dataset: DatasetSettings
    writers: Writers
    opening: Writers
    closing: dict[bool, Writers]
    prefix: SharedPrefix
    remarks: tuple[str, ...]
    tools: tuple[Tool, ...] = ()
    schema: AnswerSchema | None = None
    examples: tuple[Message, ...] = field(default=(), repr=False)

    @property
    def is_embedded(self) -> bool:
        """Whether the run starts the stand-in itself."""
        return self.config.api.base_url == EMBEDDED

    def settings(self, *, last: bool) -> dict[str, Any]:
        """Everything of a body beside its messages, for the last turn or for those before it."""
        schema = self.schema.sent if self.schema is not None and last else None
        return body_settings(self.config, self.model, schema=schema, tools=_definitions(self.tools))

    @property
    def data_schema(self) -> str | None:
        """The schema as JSON text, for the type of the `data` column."""
        return self.schema.text if self.schema is not None else None

    @property
    def is_cached(self) -> bool:
        """Whether requests mark the shared prefix for the service to cache."""
        return self.config.prompt.cache and self.prefix.may_be_cached

    def decoders(self, workers: int) -> Decoders:
        """Where images are decoded, so many at once, in bounded memory."""
        return Decoders(workers, most_bytes(self.config.images.max_pixels))

    def preparer(self, source: ImageSource, templates: Templates, decoders: Decoders) -> Preparer:
        """The stage that makes items ready."""
        links = self.config.images.transport == "url"
        room = Room.beside(example_images(self.examples), self.model.max_images, links_urls=links)
        return Preparer(source, self.images, templates, self.config.prompt, room, decoders)

    def endpoint(self, base_url: str, number: int = 0) -> Endpoint:
        """Where requests go, with the headers that each of them carries; the key is that of the endpoint's number."""
        api, key = self.config.api, self.keys[number]
        own = {name.lower(): value for name, value in api.headers.items()}  # in the place of ours, never beside them
        headers = {"anthropic-version": api.version, **own, "content-type": "application/json"}
        if key is not None:
            headers |= {"authorization": f"Bearer {key}"} if api.auth == "bearer" else {"x-api-key": key}
        return Endpoint(base_url.rstrip("/"), headers, api.timeout_seconds)

    def endpoints(self, embedded: str | None = None) -> list[Endpoint]:
        """Every endpoint of the run; `embedded` is the address of a stand-in of its own, where it has one."""
        urls = [each.base_url for each in self.config.api.endpoints or ()] or [embedded or self.config.api.base_url]
        return [self.endpoint(url, number) for number, url in enumerate(urls)]

    def sources(self, manifest: Manifest) -> SourceSettings:
        """Where images may be read from."""
        settings = self.config.manifest
        fetch = FetchSettings(
            max_bytes=self.config.images.max_bytes, allow_private_hosts=self.config.images.allow_private_hosts
        )
        root = root_of(settings.root) if settings.root is not None else manifest.root
        return SourceSettings(root, tuple(Path(path) for path in settings.allow_roots), fetch)

    def templates(self, manifest: Manifest) -> Templates:
        """The prompt's templates, checked against the manifest's columns where these are all known.

        Raises:
            ConfigError: a template is not valid, or names a variable that is no column.
        """
        return Templates(prompt_text(self.config), manifest.columns if manifest.columns_complete else None)


def plan_run(config: Config, environ: Mapping[str, str] = os.environ, *, now: datetime | None = None) -> RunPlan:
    """The plan of a run.

    Raises:
        ConfigError: something that is not built, that the model refuses, or that is not set; all of them at once.
    """
    model = Catalogue(config.models).model(config.api.model)
    images = _prepare_settings(config, model)
    problems = [*unbuilt(config), *refusals(config, model)]
    keys = _or_problem(lambda: api_keys(config, environ), problems) or ()
    schema = _or_problem(lambda: _schema(config), problems)
    examples = _or_problem(lambda: example_messages(config.prompt, images), problems) or ()
    tools = tuple(_or_problem(lambda: load_tools(config.prompt.tools or ()), problems) or ())
    if problems:
        raise ConfigError(problems[0] if len(problems) == 1 else "\n  ".join([f"{len(problems)} problems", *problems]))
    sent = schema.sent if schema is not None else None
    made = body_settings(config, model, schema=sent, tools=_definitions(tools))
    prefix = SharedPrefix(made, examples, model)
    write = partial(_writers, config, model, examples, tools, mark=_cache_mark(config, prefix))
    caching = prefix.remark() if config.prompt.cache else None
    output = config.output
    return RunPlan(
        config=config,
        model=model,
        fingerprint=fingerprint(config, model.id, example_hashes(examples)),
        keys=keys,
        manifest=_manifest_settings(config),
        images=images,
        dataset=DatasetSettings(place_of(output.path), output.rows_per_file, output.flush_seconds, output.compression),
        writers=write(sent),
        opening=write(None),
        closing={True: write(sent, closing=True), False: write(None, closing=True)},
        prefix=prefix,
        remarks=(*remarks(config, model, (now or datetime.now(UTC)).date()), *([caching] if caching else [])),
        tools=tools,
        schema=schema,
        examples=examples,
    )


def _or_problem(find: Callable[[], Found], problems: list[str]) -> Found | None:
    try:
        return find()
    except ConfigError as error:
        problems.append(str(error))
        return None


def _schema(config: Config) -> AnswerSchema | None:
    schema = config.prompt.json_schema
    return AnswerSchema(schema) if isinstance(schema, dict) else None


def _manifest_settings(config: Config) -> ManifestSettings:
    return ManifestSettings(
        path=config.manifest.path,
        format=config.manifest.format,
        id_column=config.manifest.id_column,
        image_columns=image_columns(config.manifest, config.prompt),
        list_separator=config.manifest.list_separator,
    )


def _prepare_settings(config: Config, model: Model) -> PrepareSettings:
    images, sees = config.images, model.bounds
    edge = sees.max_edge if images.max_edge == "model" else int(images.max_edge)
    tokens = sees.max_tokens if images.max_tokens == "model" else int(images.max_tokens)
    if model.known:
        edge, tokens = min(edge, sees.max_edge), min(tokens, sees.max_tokens)
    return PrepareSettings(
        bounds=Bounds(edge, tokens),
        quality=images.quality,
        max_bytes=images.max_bytes,
        max_pixels=images.max_pixels,
        max_side_px=MAX_SIDE_PX,
        thumbnail_edge=config.output.thumbnail_edge,
    )


def _cache_mark(config: Config, prefix: SharedPrefix) -> Mapping[str, str] | None:
    if not config.prompt.cache or not prefix.may_be_cached:
        return None
    return CACHE_MARK if config.api.mode == "messages" else CACHE_MARK_HOUR


def _definitions(tools: Sequence[Tool]) -> list[Mapping[str, Any]]:
    return [tool.definition for tool in tools]


def _writers(  # noqa: PLR0913 - what all bodies share, then what this pair has for itself
    config: Config,
    model: Model,
    examples: tuple[Message, ...],
    tools: Sequence[Tool],
    schema: Mapping[str, Any] | None,
    *,
    mark: Mapping[str, str] | None,
    closing: bool = False,
) -> Writers:
    """A pair of writers; `closing` bodies have the tools and forbid to call them."""
    caps = (config.api.max_tokens, config.api.max_tokens * TRUNCATED_FACTOR)
    made = [
        body_settings(config, model, max_tokens=cap, schema=schema, tools=_definitions(tools))
        | ({"tool_choice": {"type": "none"}} if closing and tools else {})
        for cap in caps
    ]
    usual, larger = (body_writer(settings, examples, model, mark=mark) for settings in made)
    return Writers(usual, larger, made[0]["max_tokens"], made[1]["max_tokens"])
