"""`/v1/models`: entries and pages."""

import pytest

from pipeline.standin.listing import describe, page
from pipeline.standin.models import MODELS
from pipeline.standin.problems import Problem


def test_an_alias_is_described_by_its_dated_id() -> None:
    """What comes back names the resolved model, its limits and its end."""
    found = describe("claude-sonnet-4-5")
    assert found["id"] == "claude-sonnet-4-5-20250929"
    assert (found["lifecycle"], found["retires_at"]) == ("deprecated", "2026-11-30T00:00:00Z")
    assert (found["max_input_tokens"], found["max_tokens"]) == (200_000, 64_000)
    with pytest.raises(Problem) as caught:
        describe("claude-2")
    assert caught.value.status == 404


@pytest.mark.parametrize("name", MODELS)
def test_capabilities_say_what_a_request_would_meet(name: str) -> None:
    """Thinking types and effort are supported exactly where the model takes them."""
    capabilities = describe(name)["capabilities"]
    taken = {kind for kind, part in capabilities["thinking"]["types"].items() if part["supported"]}
    assert taken == set(MODELS[name].thinking)
    assert capabilities["effort"]["supported"] == MODELS[name].effort


@pytest.mark.parametrize("limit", [1, 4, 5, 20])
def test_pages_forwards_hold_every_model_once_in_order(limit: int) -> None:
    """Following `last_id` until `has_more` is false walks the whole list."""
    query, found = {"limit": str(limit)}, []
    while True:
        part = page(query)
        found += [model["id"] for model in part["data"]]
        assert part["first_id"] == part["data"][0]["id"]
        if not part["has_more"]:
            break
        query = {"limit": str(limit), "after_id": part["last_id"]}
    assert found == list(MODELS)


def test_a_page_backwards_ends_before_its_id() -> None:
    """`before_id` gives the nearest ones before it, and says whether there are more."""
    names = list(MODELS)
    part = page({"limit": "2", "before_id": names[3]})
    assert [model["id"] for model in part["data"]] == names[1:3]
    assert part["has_more"]
    assert not page({"limit": "3", "before_id": names[3]})["has_more"]


def test_a_page_after_the_last_is_empty() -> None:
    """There is nothing, and nothing more."""
    assert page({"after_id": list(MODELS)[-1]}) == {"data": [], "has_more": False, "first_id": None, "last_id": None}


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"},
        {"limit": "1001"},
        {"limit": "many"},
        {"limit": "٣"},
        {"after_id": "claude-2"},
        {"page": "2"},
        {"after_id": "claude-opus-5", "before_id": "claude-opus-5"},
    ],
)
def test_a_bad_parameter_is_refused_by_name(query: dict[str, str]) -> None:
    """Bounds, unknown ids and unknown parameters are each a 400."""
    with pytest.raises(Problem) as caught:
        page(query)
    assert caught.value.status == 400
    assert next(iter(query)) in caught.value.message
