"""The misfortunes of batches alone. Those of messages and connections strike them too, at the place before their name.

`item/529:share=0.05` makes such requests errored, by the status's own kind of error; `item/refusal` and the like
change their messages; `create/lost_answer:status=529` leaves an orphan, `create/529` does not; `results/truncated`
with `bytes` cuts the results; `get/slow` is a late poll.
"""

from dataclasses import dataclass

from pipeline.standin.misfortunes import Misfortune

__all__ = ["Canceled", "Elsewhere", "Expired", "SmallPages", "Unfinished"]


class Unfinished(Misfortune):
    """A request of a batch is never begun; the name is what its result says."""

    places = ("item",)


class Expired(Unfinished):
    """It has expired when the batch ends."""

    name = "expired"


class Canceled(Unfinished):
    """It is canceled though nobody asked for it."""

    name = "canceled"


@dataclass(frozen=True)
class Elsewhere(Misfortune):
    """`get`, `list` and `cancel` tell a `results_url` on another host."""

    name = "elsewhere"
    places = ("get", "list", "cancel")
    to: str = "http://127.0.0.1:9"


@dataclass(frozen=True)
class SmallPages(Misfortune):
    """A page of `list` has at most so many batches, whatever its limit."""

    name = "small_pages"
    places = ("list",)
    most: int = 1
