"""File descriptors: found too few before anything is sent, not in the middle of a run."""

import resource

from pipeline.errors import ConfigError
from pipeline.limits.pacer import MOST_PLACES

__all__ = ["ensure_descriptors"]

_OTHERS = 128
"""Images being read and fetched, the journal, parts, logs, and what the interpreter holds."""


def ensure_descriptors(concurrency: int | str) -> None:
    """Raises this process's soft limit to what the run needs.

    Args:
        concurrency: `limits.concurrency`.

    Raises:
        ConfigError: the hard limit is lower than that.
    """
    places = concurrency if isinstance(concurrency, int) else MOST_PLACES
    needed = places + _OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft in (resource.RLIM_INFINITY, -1) or soft >= needed:
        return
    if hard not in (resource.RLIM_INFINITY, -1) and hard < needed:
        other = f", or set limits.concurrency to at most {hard - _OTHERS}" if hard > _OTHERS else ""
        raise ConfigError(
            f"limits.concurrency: {places} requests in flight need {needed} file descriptors, this process may have "
            f"{hard}; raise the hard limit (ulimit -Hn){other}"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
