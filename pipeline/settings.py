"""Every configuration key: its type, its default, and what it means.

One class a section; `Config` is the whole file. Values are validated once and frozen. The text of each field is
the reference that users read, so it states the unit, the reason of the default and what it costs.
This module only states; `pipeline.config` reads files, the environment and the command line into it.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.urls import is_plain_http_abroad, masked_url
from pipeline.values import (
    Concurrency,
    Duration,
    EdgeOrModel,
    Failures,
    Headers,
    HeaderValue,
    JsonSchema,
    JsonTable,
    Name,
    Rate,
    ServiceUrl,
    Texts,
    TokensOrModel,
    TurnImages,
    VariableName,
)

__all__ = [
    "Config",
    "Endpoint",
    "Example",
    "SettingsApi",
    "SettingsImages",
    "SettingsLimits",
    "SettingsManifest",
    "SettingsOutput",
    "SettingsPrompt",
    "SettingsRetry",
]

MAX_PIXELS = 178_956_970
DEFAULT_BASE_URL = "https://api.anthropic.com"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, str_max_length=1_000_000)


class SettingsManifest(_Section):
    """`[manifest]`: which images."""

    path: Name = Field(description="csv, tsv, jsonl, parquet, arrow, txt, a directory, a glob, or `-`")
    format: Literal["auto", "csv", "tsv", "jsonl", "parquet", "arrow", "txt", "directory", "glob"] = Field(
        "auto", description="`auto` goes by the suffix"
    )
    id_column: Name = Field("id", description="the column that names an item; hashed from the images where absent")
    image_column: str = Field(
        "image",
        description="a path, URL (also `s3://`, `gs://`, `az://`), `data:` URI, tar member (`shards/000.tar#cat.jpg`), "
        'bytes, or a list of these; `""` for text alone',
    )
    list_separator: Name = Field("|", description="between several images in one csv or tsv field")
    changed: Literal["ignore", "detect"] = Field("ignore", description="`detect` captions changed images anew")
    root: Name | None = Field(None, description="where relative image paths start; the manifest's directory")
    allow_roots: list[Name] = Field(default_factory=list, description="further folders that paths may lead into")


class Endpoint(_Section):
    """One entry of `api.endpoints`."""

    base_url: ServiceUrl = Field(description="as `api.base_url`")
    api_key_env: VariableName = Field("ANTHROPIC_API_KEY", description="as `api.api_key_env`")
    weight: float = Field(1.0, gt=0, description="its share of the requests, beside the others")


class SettingsApi(_Section):
    """`[api]`: which server, which model, and how it is asked."""

    base_url: ServiceUrl = Field(DEFAULT_BASE_URL, description='a Messages API server, or `"embedded"`')
    api_key_env: VariableName = Field("ANTHROPIC_API_KEY", description="the name of the variable that holds the key")
    auth: Literal["x-api-key", "bearer", "none"] = Field(
        "x-api-key", description="the header that carries the key; `none` for a server that needs no key"
    )
    version: HeaderValue = Field("2023-06-01", description="the `anthropic-version` header")
    allow_http: bool = Field(False, description="plain http to a host that is not loopback")
    model: Name = Field(description="an id or alias; one that the catalogue does not know is sent as it is")
    max_tokens: int = Field(ge=1, description="the most output tokens of one answer, thinking included")
    temperature: float | None = Field(None, ge=0, le=1, description="models up to 4.6 and Haiku 4.5 alone")
    top_p: float | None = Field(None, ge=0, le=1, description="likewise")
    top_k: int | None = Field(None, ge=0, description="likewise")
    stop_sequences: list[Name] | None = Field(None, description="texts that end the answer")
    service_tier: Literal["auto", "standard_only"] | None = Field(None, description="which capacity may be used")
    thinking: JsonTable | None = Field(None, description="sent as it is; by default the cheapest the model has")
    headers: Headers = Field(default_factory=dict, description="sent with every request, masked in prints")
    timeout_seconds: float = Field(600.0, gt=0, description="the total time of one attempt")
    mode: Literal["messages", "batches", "auto"] = Field("messages", description="`batches` costs half, within 24 h")
    deadline: Duration | None = Field(None, description='such as `"20h"`')
    poll_seconds: float = Field(60.0, gt=0, description="at most this long between looks at a batch")
    endpoints: list[Endpoint] | None = Field(None, description="several servers or keys in one run, by weight")

    @model_validator(mode="after")
    def _in_the_clear(self) -> "SettingsApi":
        """Plain http shows the key and the images to everyone on the way."""
        places = [("api.base_url", self.base_url)]
        places += [(f"api.endpoints.{at}.base_url", each.base_url) for at, each in enumerate(self.endpoints or ())]
        for key, url in places:
            if is_plain_http_abroad(url) and not self.allow_http:
                raise ValueError(
                    f'{key}: found "{masked_url(url)}"; allowed: https, or http to this machine; '
                    "api.allow_http = true allows plain http to another host"
                )
        return self


class Example(_Section):
    """One few-shot example of `prompt.examples`."""

    image: Name = Field(description="a path")
    user: Name = Field(description="what is asked of it")
    assistant: Name = Field(description="the answer that is wanted")


class SettingsPrompt(_Section):
    """`[prompt]`: what is asked of every image."""

    system: str | None = Field(None, description="instructions before the conversation")
    user: Texts = Field(description="Jinja2 over the manifest's columns; a list is one conversation turn each")
    turn_images: TurnImages | None = Field(None, description="the image columns of each turn; all on the first")
    label_images: bool = Field(True, description="`Image 1:` and so on where a turn has several")
    prefill: str | None = Field(None, description="how the last answer begins; trailing white space is dropped")
    examples: list[Example] | None = Field(None, description="few-shot: image, user, assistant")
    cache: bool = Field(False, description="marks system and examples for prompt caching")
    json_schema: JsonSchema | None = Field(None, alias="schema", description="structured output")
    schema_via: Literal["output", "tool"] = Field("output", description="or through a forced tool call")
    schema_retries: int = Field(1, ge=0, description="asked again this often when the answer does not fit")
    on_truncated: Literal["keep", "fail", "retry"] = Field(
        "keep", description="an answer cut off at `api.max_tokens`; `retry` asks once, with four times the room"
    )
    tools: list[Any] | None = Field(None, description='Python callables the model may use; `"zoom"` is built in')
    max_tool_turns: int = Field(8, ge=1, description="the most answers that call tools, for one turn")


class SettingsImages(_Section):
    """`[images]`: how pictures are prepared."""

    transport: Literal["base64", "url", "file"] = Field("base64", description="how images reach the service")
    transport_fallback: bool = Field(True, description="sends a refused URL or file in the request instead")
    max_edge: EdgeOrModel = Field(1568, description="px; the standard tier's bound, a third of the high tier's price")
    max_tokens: TokensOrModel = Field(1568, description="visual tokens an image may cost")
    quality: int = Field(85, ge=1, le=100, description="of JPEG and WebP re-encoding")
    max_bytes: int = Field(50_000_000, ge=1, description="of the original file")
    max_pixels: int = Field(MAX_PIXELS, ge=1, description="refused above that; 4 to 8 bytes of memory each")
    allow_private_hosts: bool = Field(False, description="fetch from loopback and private addresses too")


class SettingsLimits(_Section):
    """`[limits]`: how fast, how much money, how many failures."""

    requests_per_minute: Rate = Field("auto", description="learned from the response headers; a number, or `off`")
    input_tokens_per_minute: Rate = Field("auto", description="likewise; cache reads are free of it")
    output_tokens_per_minute: Rate = Field("auto", description="likewise")
    concurrency: Concurrency = Field("auto", description="requests in flight; each holds one prepared image")
    budget_usd: float | None = Field(None, ge=0, description="what this run may spend, requests in flight included")
    max_failures: Failures = Field(0, description="more failed items than this make the exit code 1")
    share: float = Field(1.0, gt=0, le=1, description="the part of the account's limits that this run may use")


class SettingsRetry(_Section):
    """`[retry]`: how often and how long."""

    max_attempts: int = Field(8, ge=1, description="of one request")
    max_wait_seconds: float = Field(60.0, ge=0, description="the longest wait of our own; a retry-after is obeyed")
    drain_seconds: float = Field(30.0, ge=0, description="the grace at a signal")


class SettingsOutput(_Section):
    """`[output]`: where the dataset goes and how it is cut."""

    path: Name = Field(description="the dataset's folder")
    rows_per_file: int = Field(50_000, ge=1, description="a part is written when so many rows wait")
    flush_seconds: float = Field(60.0, gt=0, description="... and at least this often while any do")
    compression: Literal["zstd", "snappy", "gzip", "lz4", "brotli", "none"] = Field("zstd", description="of the parts")
    thumbnail_edge: int = Field(0, ge=0, le=1024, description="px; above 0 every row has a small WebP, for the report")
    reuse: bool = Field(True, description="copies the answer to an identical request instead of asking again")
    format: Literal["parquet", "delta"] = Field("parquet", description="of the dataset")


class Config(_Section):
    """The whole configuration, validated and frozen."""

    manifest: SettingsManifest
    api: SettingsApi
    prompt: SettingsPrompt
    images: SettingsImages = SettingsImages()
    limits: SettingsLimits = SettingsLimits()
    retry: SettingsRetry = SettingsRetry()
    output: SettingsOutput
    models: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="prices, limits and abilities of models, over the shipped catalogue"
    )

    @model_validator(mode="after")
    def _together(self) -> "Config":
        """Rules between keys."""
        turns = 1 if isinstance(self.prompt.user, str) else len(self.prompt.user)
        if self.prompt.turn_images is not None and len(self.prompt.turn_images) != turns:
            raise ValueError(
                f"prompt.turn_images: found {len(self.prompt.turn_images)} entries; allowed: one for each turn of "
                f"prompt.user, which has {turns}"
            )
        if self.api.mode == "auto" and self.api.deadline is None:
            raise ValueError('api.deadline: required with api.mode = "auto", and not given; allowed: such as "20h"')
        return self
