"""Logging as it was before a test that sets it up: other tests listen to it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["logging_kept"]


@contextmanager
def logging_kept() -> Iterator[None]:
    """While the block runs the package's logger is as in a fresh process; afterwards all is as it was."""
    ours, root = logging.getLogger("pipeline"), logging.getLogger()
    before = [(logger, list(logger.handlers), logger.level, logger.propagate) for logger in (ours, root)]
    ours.handlers, ours.propagate = [], True
    ours.setLevel(logging.NOTSET)
    try:
        yield
    finally:
        for logger, handlers, level, propagate in before:
            for handler in set(logger.handlers) - set(handlers):
                handler.close()
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)
