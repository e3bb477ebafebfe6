"""Everything about a run that its configuration decides, worked out and checked before anything is opened.

`check` and `run` share it, so that what `check` passes is what `run` does.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pipeline.api.body import TRUNCATED_FACTOR, body_settings
from pipeline.api.catalogue import Catalogue, Model
from pipeline.api.combinations import refusals, remarks
from pipeline.api.messages import BodyWriter
from pipeline.api.transport import Endpoint
from pipeline.config import EMBEDDED, api_key, prompt_text, unbuilt
from pipeline.errors import ConfigError
from pipeline.fingerprint import fingerprint
from pipeline.images.fetch import FetchSettings
from pipeline.images.geometry import MAX_SIDE_PX, Bounds
from pipeline.images.prepare import PrepareSettings
from pipeline.images.sources import SourceSettings
from pipeline.manifest.producer import Manifest, ManifestSettings
from pipeline.prompts.plan import image_columns
from pipeline.prompts.templates import Templates
from pipeline.settings import Config
from pipeline.store.ledger import DatasetSettings

__all__ = ["RunPlan", "Writers", "plan_run"]


@dataclass(frozen=True, slots=True)
class Writers:
    """The writers of bodies: with the usual cap, and with the larger one for an answer that was cut off."""

    usual: BodyWriter
    larger: BodyWriter
    max_tokens: int
    largest_tokens: int


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run will do; nothing is open yet.

    Attributes:
        key: sent to the service; never shown.
        remarks: what works and should be known, one line each.
    """

    config: Config
    model: Model
    fingerprint: str
    key: str | None = field(repr=False)
    manifest: ManifestSettings
    images: PrepareSettings
    dataset: DatasetSettings
    writers: Writers
    remarks: tuple[str, ...]

    @property
    def is_embedded(self) -> bool:
        """Whether the run starts the stand-in itself."""
        return self.config.api.base_url == EMBEDDED

    def endpoint(self, base_url: str) -> Endpoint:
        """Where requests go, with the headers that each of them carries."""
        api = self.config.api
        headers = {"content-type": "application/json", "anthropic-version": api.version, **api.headers}
        if self.key is not None:
            headers |= {"authorization": f"Bearer {self.key}"} if api.auth == "bearer" else {"x-api-key": self.key}
        return Endpoint(base_url.rstrip("/"), headers, api.timeout_seconds)

    def sources(self, manifest: Manifest) -> SourceSettings:
        """Where images may be read from."""
        settings = self.config.manifest
        fetch = FetchSettings(
            max_bytes=self.config.images.max_bytes, allow_private_hosts=self.config.images.allow_private_hosts
        )
        root = Path(settings.root) if settings.root is not None else manifest.root
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
    problems = [*unbuilt(config), *refusals(config, model)]
    key = None
    try:
        key = api_key(config, environ)
    except ConfigError as error:
        problems.append(str(error))
    if problems:
        raise ConfigError(problems[0] if len(problems) == 1 else "\n  ".join([f"{len(problems)} problems", *problems]))
    output = config.output
    return RunPlan(
        config=config,
        model=model,
        fingerprint=fingerprint(config, model.id),
        key=key,
        manifest=ManifestSettings(
            path=config.manifest.path,
            format=config.manifest.format,
            id_column=config.manifest.id_column,
            image_columns=image_columns(config.manifest, config.prompt),
            list_separator=config.manifest.list_separator,
        ),
        images=_prepare_settings(config, model),
        dataset=DatasetSettings(Path(output.path), output.rows_per_file, output.flush_seconds, output.compression),
        writers=_writers(config, model),
        remarks=tuple(remarks(config, model, (now or datetime.now(UTC)).date())),
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


def _writers(config: Config, model: Model) -> Writers:
    usual = body_settings(config, model)
    larger = body_settings(config, model, max_tokens=config.api.max_tokens * TRUNCATED_FACTOR)
    return Writers(BodyWriter(usual), BodyWriter(larger), usual["max_tokens"], larger["max_tokens"])
