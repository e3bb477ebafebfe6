"""Bulk image captioning over the Anthropic Messages API: paced, prepared, paid exactly once.

::

    import pipeline

    summary = pipeline.run("configs/demo.toml", limit=100)      # blocking
    summary = await pipeline.run_async("configs/demo.toml")     # in a notebook
    table = pipeline.read_results("out/demo")                   # pyarrow.Table
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.engines.summary import RunSummary
    from pipeline.notebook import run, run_async
    from pipeline.store.read import read_results

__all__ = ["RunSummary", "read_results", "run", "run_async"]

_PLACES = {
    "RunSummary": "pipeline.engines.summary",
    "read_results": "pipeline.store.read",
    "run": "pipeline.notebook",
    "run_async": "pipeline.notebook",
}


def __getattr__(name: str) -> Any:
    """Loads the public names when they are first used, so that `import pipeline` costs nothing."""
    if name not in _PLACES:
        raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
