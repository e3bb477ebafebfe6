"""Misfortunes that batches alone can have."""

import pytest

from pipeline.standin.batches import misfortunes
from pipeline.standin.batches.misfortunes import Unfinished
from pipeline.standin.faults import PLACES, parse_fault
from pipeline.standin.misfortunes import Misfortune

KINDS = [getattr(misfortunes, name) for name in misfortunes.__all__ if name != "Unfinished"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_can_be_scripted_where_it_means_something_and_nowhere_else(kind: type[Misfortune]) -> None:
    """At each of its places by its name."""
    for place in PLACES:
        if place in kind.places:
            assert isinstance(parse_fault(f"{place}/{kind.name}").misfortune, kind)
        else:
            with pytest.raises(ValueError, match="strikes at"):
                parse_fault(f"{place}/{kind.name}")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if issubclass(kind, Unfinished)])
def test_an_unfinished_request_is_named_as_its_result(kind: type[Unfinished]) -> None:
    """As the API calls it."""
    assert kind.name in ("expired", "canceled")
