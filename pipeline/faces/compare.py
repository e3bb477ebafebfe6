"""`pipeline compare`: one page with the same pictures twice, to choose a prompt and a model by what they say and cost.

The sums are over every item that both sides have settled; the pairs below them are a stable random sample of those, as
many as keep the page small enough to mail. Where captions differ, the words that differ are marked.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.exports.exporting import originals_of
from pipeline.faces.differences import marked
from pipeline.faces.gallery import gallery_row
from pipeline.faces.page import page_parts, rendered
from pipeline.faces.plain import counted, money
from pipeline.faces.thumbnails import add_thumbnails
from pipeline.store.buckets import Place
from pipeline.store.comparing import Side, Sums, common_items, equal_captions, pairs, side_of, sums_of
from pipeline.store.parts import write_whole
from pipeline.store.read import dataset_status, steady

__all__ = ["MOST_PAIRS", "PICTURE_CHARACTERS", "compare_html", "write_comparison"]

MOST_PAIRS = 500
PICTURE_CHARACTERS = 12_000_000
_SECTIONS = ("api", "prompt", "images")
_LONGEST_SETTING = 2000


@dataclass(frozen=True, slots=True)
class _Shown:
    """A side as the page heads it: its name, and the settings that it was answered under."""

    name: str
    settings: dict[str, str]


def write_comparison(one: tuple[Place, str], other: tuple[Place, str], target: Place) -> Place:
    """Writes the page, atomically; returns its place.

    Args:
        one: a dataset and a fingerprint of it.
        other: likewise.
        target: the page.

    Raises:
        OutputError: one of them is no dataset.
        OSError: the page cannot be written.
    """
    page = steady(one[0], lambda: steady(other[0], lambda: compare_html(one, other)))
    write_whole(target, page.encode("utf-8", "replace"))
    return target


def compare_html(one: tuple[Place, str], other: tuple[Place, str]) -> str:
    """The page of two sides, each a dataset and a fingerprint of it.

    Raises:
        OutputError: one of them is no dataset.
    """
    sides = side_of(*one), side_of(*other)
    shown = [_headed(side, alone=one[0] == other[0]) for side in sides]
    items = common_items(*sides)
    cards = list(_pairs(*sides, items))
    room = PICTURE_CHARACTERS - sum(len(card["thumbnail"]) for card in cards)
    add_thumbnails(cards, originals_of(one[0], None), room)
    return rendered(
        "compare.html.j2",
        page=page_parts(["base.css", "compare.css"], ["compare.js"]),
        title=f"{shown[0].name} and {shown[1].name}",
        names=[side.name for side in shown],
        sums=_sums([sums_of(side, items) for side in sides]),
        equal=equal_captions(*sides, items),
        settings=_different(shown[0].settings, shown[1].settings),
        pairs=cards,
        shown=_said(len(cards), len(items), sides),
    )


def _headed(side: Side, *, alone: bool) -> _Shown:
    settings: dict[str, str] = {}
    for run in dataset_status(side.output).runs:
        if run.get("fingerprint") == side.fingerprint and isinstance(run.get("config"), Mapping):
            config = run["config"]
            settings = {
                f"{section}.{key}": "" if value is None else str(value)
                for section in _SECTIONS
                for key, value in (config.get(section) or {}).items()
            }
    place = "" if alone else f"{side.output.resolve().name or side.output} "
    model = settings.get("api.model")
    return _Shown(f"{place}{side.fingerprint}{f' ({model})' if model else ''}", settings)


def _different(one: Mapping[str, str], other: Mapping[str, str]) -> list[tuple[str, str, str]]:
    names = dict.fromkeys([*one, *other])
    values = [(name, one.get(name, ""), other.get(name, "")) for name in names]
    return [
        (name, mine[:_LONGEST_SETTING], theirs[:_LONGEST_SETTING]) for name, mine, theirs in values if mine != theirs
    ]


def _sums(both: list[Sums]) -> list[tuple[str, str, str]]:
    """A line a measure, with a value a side."""
    lines: dict[str, Callable[[Sums], str]] = {
        "captioned": lambda sums: f"{sums.captioned:,}",
        "failed": lambda sums: f"{sums.failed:,}",
        "input tokens": lambda sums: f"{sums.input_tokens:,}",
        "output tokens": lambda sums: f"{sums.output_tokens:,}",
        "cost": lambda sums: money(sums.cost_usd),
        "cost of 1,000 captions": lambda sums: money(1000 * sums.cost_usd / sums.captioned) if sums.captioned else "–",
        "characters a caption": lambda sums: f"{sums.characters / sums.captioned:,.0f}" if sums.captioned else "–",
        "seconds an answer": lambda sums: f"{sums.latency_ms / 1000:,.2f}" if sums.captioned else "–",
    }
    return [(name, said(both[0]), said(both[1])) for name, said in lines.items()]


def _pairs(one: Side, other: Side, items: list[str]) -> Iterator[dict[str, Any]]:
    room = PICTURE_CHARACTERS
    for rows in pairs(one, other, items[:MOST_PAIRS]):
        cards = [gallery_row(row) for row in rows]
        picture = cards[0]["thumbnail"] or cards[1]["thumbnail"]
        room -= len(picture)
        if room < 0:
            return
        texts = [card["caption"] for card in cards]
        differ = texts[0] != texts[1] or cards[0]["kind"] != cards[1]["kind"]
        pieces = marked(*texts)
        for card, own in zip(cards, pieces, strict=True):
            card["pieces"] = own
            card["figures"] = f"{card['input_tokens']:,} in, {card['output_tokens']:,} out · {money(card['cost'])}"
        yield {
            "id": cards[0]["id"],
            "thumbnail": picture,
            "sources": cards[0]["sources"],
            "differ": differ,
            "sides": cards,
        }


def _said(shown: int, common: int, sides: tuple[Side, Side]) -> str:
    alone = [len(side.answers) + len(side.failures.keys() - side.answers.keys()) - common for side in sides]
    parts = [f"{counted(common, 'item')} on both sides"]
    parts += [
        f"{number:,} on the {where} alone" for number, where in zip(alone, ("left", "right"), strict=True) if number
    ]
    said = ", ".join(parts)
    return f"{said}; the sums are of those on both sides." + (
        f" Below is a random sample of {shown:,}." if shown < common else ""
    )
