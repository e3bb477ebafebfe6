"""The stand-in's models, and their agreement with the catalogue that the client ships."""

import pytest

from pipeline.api.catalogue import Catalogue, Model, cost_usd
from pipeline.records import Usage
from pipeline.standin.answer import bill_nano
from pipeline.standin.caching import CacheUse
from pipeline.standin.models import ALIASES, MODELS, find_model

CATALOGUE = Catalogue()


def shipped(name: str) -> Model:
    """The client's entry of a model that the stand-in serves."""
    model = CATALOGUE.model(name)
    assert model.known
    return model


def test_both_tables_know_the_same_ids_and_aliases() -> None:
    """A model that one side serves is one that the other can price."""
    assert sorted([*MODELS, *ALIASES]) == CATALOGUE.names


@pytest.mark.parametrize("alias", ALIASES)
def test_an_alias_is_the_dated_model(alias: str) -> None:
    """The undated name of a dated model finds it."""
    found = find_model(alias)
    assert found is not None
    assert found.id == shipped(alias).id


@pytest.mark.parametrize("name", ["claude-haiku-4", "claude-opus-5-", "claude-haiku-4-5-20990101", "", "gpt-4"])
def test_other_names_are_unknown(name: str) -> None:
    """A prefix, a suffix or another date of a known model is no model."""
    assert find_model(name) is None


@pytest.mark.parametrize("name", MODELS)
def test_both_tables_see_and_refuse_alike(name: str) -> None:
    """Tier, limits and refusals, stated twice and independently, agree."""
    ours, theirs = MODELS[name], shipped(name)
    assert (ours.edge, ours.cap) == (theirs.bounds.max_edge, theirs.bounds.max_tokens)
    assert (ours.max_tokens, ours.context) == (theirs.max_output_tokens, theirs.context_tokens)
    assert (ours.images, ours.cache_minimum) == (theirs.max_images, theirs.cache_minimum_tokens)
    assert (ours.prefill, ours.sampling) == (theirs.prefill, theirs.sampling)
    assert (ours.forced_tools, ours.effort) == (theirs.forced_tools, theirs.effort)
    assert set(ours.thinking) == set(theirs.thinking or ())
    assert (ours.retires_at or "")[:10] == (str(theirs.retires_on) if theirs.retires_on else "")


@pytest.mark.parametrize("name", MODELS)
def test_a_model_that_thinks_unasked_is_kept_quiet_by_the_client(name: str) -> None:
    """Where leaving `thinking` out means thinking, the client's catalogue has something to say against it."""
    assert bool(shipped(name).quiet) == MODELS[name].thinks
    assert shipped(name).always_thinks == (MODELS[name].thinking == ("adaptive",))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("uncached", [1000, 100_001])
def test_both_tables_bill_the_same(name: str, uncached: int) -> None:
    """The stand-in's integer bill equals the client's exact one, cache and long-prompt band included."""
    ours = bill_nano(MODELS[name], CacheUse(uncached, read=2000, written_5m=400, written_1h=120), 77)
    assert ours / 1e9 == cost_usd(shipped(name), Usage(uncached, 77, 520, 2000, 120))
