"""The cluster that a run goes to, and what it takes there: connected or begun here, without keys in its environment."""

import logging
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import TextIOBase

import ray
from ray.exceptions import RayError

from pipeline.engines.plan import RunPlan
from pipeline.engines.staging import available_cores
from pipeline.errors import ConfigError
from pipeline.store.places import shards_folder
from pipeline.store.shards import Shard

__all__ = ["NAMESPACE", "SHARDS", "asked_shards", "cluster", "plain", "secrets_for_workers", "shard_count"]

logger = logging.getLogger(__name__)
NAMESPACE = "pipeline"
SHARDS = "PIPELINE_RAY_SHARDS"
"""The variable that says into how many shards the manifest is cut."""
_MOST_SHARDS = 10_000
_MOST_SAID = 200
_STORE_BYTES = 80_000_000
"""Of Ray's object store: nothing large goes through it."""
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def plain(text: str) -> str:
    """A text of Ray's without colours."""
    return _COLOUR.sub("", text)


def asked_shards(text: str) -> int | None:
    """How many shards the environment asks for: a cluster that scales by itself has few CPUs when a run begins."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= _MOST_SHARDS):
        raise ConfigError(f'{SHARDS}: found "{text}"; allowed: a whole number from 1 to {_MOST_SHARDS}')
    return int(text)


def secrets_for_workers(plan: RunPlan) -> dict[str, str]:
    """The variables that hold keys, with their values."""
    api = plan.config.api
    if plan.is_embedded:
        return {}
    names = [each.api_key_env for each in api.endpoints or ()] or [api.api_key_env]
    return {name: key for name, key in zip(names, plan.keys, strict=True) if key is not None}


@contextmanager
def cluster(secrets: dict[str, str]) -> Iterator[int]:
    """The CPUs of the cluster, connected while the block runs; one that is begun here ends with it.

    Raises:
        ConfigError: it cannot be reached.
    """
    address = os.environ.get("RAY_ADDRESS") or None
    quiet = {"logging_level": logging.WARNING, "log_to_driver": False, "namespace": NAMESPACE}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with _without(secrets), redirect_stdout(_Said()):
        try:
            if address is not None:
                ray.init(address=address, **quiet)
            else:
                ray.init(
                    address="local",
                    num_cpus=available_cores(),
                    include_dashboard=False,
                    object_store_memory=_STORE_BYTES,
                    **quiet,
                )
        except (RayError, ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise ConfigError(f"--engine ray: the cluster {address or ''} cannot be had: {error}") from error
    try:
        with redirect_stdout(_Said()):
            yield max(1, math.floor(ray.cluster_resources().get("CPU", 1)))
    finally:
        ray.shutdown()


class _Said(TextIOBase):
    """What Ray prints on standard output, which is not its own: log lines, without colours."""

    def write(self, text: str) -> int:
        """Logs what is not empty."""
        for line in plain(text).splitlines():
            if line.strip():
                logger.info("Ray: %s", line.strip()[:_MOST_SAID])
        return len(text)


@contextmanager
def _without(secrets: dict[str, str]) -> Iterator[None]:
    """The environment without keys and without settings, which may hold some: Ray's processes inherit it."""
    hidden = {name: value for name, value in os.environ.items() if name in secrets or name.startswith("PIPELINE__")}
    for name in hidden:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(hidden)


def shard_count(plan: RunPlan, cpus: int) -> int:
    """A power of two of at least the CPUs, and never fewer than the dataset was cut into before.

    Shards of twice as many are halves of shards, so that hardly a part is read by two of them.
    """
    folder = shards_folder(plan.dataset.output)
    found = [Shard.of_folder(one.name) for one in folder.iterdir()] if folder.is_dir() else []
    return max([1 << max(0, cpus - 1).bit_length(), *(shard.of for shard in found if shard is not None)])
