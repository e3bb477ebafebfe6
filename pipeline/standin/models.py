"""The models that the stand-in serves: what each refuses, how it sees, what it bills."""

from dataclasses import dataclass

__all__ = ["MODELS", "ModelFacts", "find_model"]


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """One model. Prices are nano-dollars a token (dollars per million tokens times 1000)."""

    id: str
    input_nano: int
    output_nano: int
    read_nano: int
    edge: int = 2576
    cap: int = 4784
    max_tokens: int = 128_000
    context: int = 1_000_000
    images: int = 600
    prefill: bool = False
    sampling: bool = False
    forced_tools: bool = True
    thinking: tuple[str, ...] = ("adaptive", "disabled")
    thinks: bool = False
    group: str = ""
    long_over: int = 0
    retires_at: str | None = None


_STANDARD = {"edge": 1568, "cap": 1568}
_ALWAYS = {"thinking": ("adaptive",), "thinks": True, "forced_tools": False}
_OLD = {
    **_STANDARD,
    "max_tokens": 64_000,
    "context": 200_000,
    "images": 100,
    "prefill": True,
    "sampling": True,
    "thinking": ("enabled", "disabled"),
}
_SIX = {**_STANDARD, "sampling": True, "thinking": ("adaptive", "enabled", "disabled")}

_TABLE: list[ModelFacts] = [
    ModelFacts("claude-haiku-5-5", 100, 500, 10, thinks=True, long_over=100_000),
    ModelFacts("claude-sonnet-5-5", 2000, 10_000, 100, **{**_ALWAYS, "thinking": ("adaptive", "between_tools")}),  # type: ignore[arg-type]
    ModelFacts("claude-opus-5-5", 4000, 20_000, 200, **_ALWAYS),  # type: ignore[arg-type]
    ModelFacts("claude-fable-5-2", 8000, 40_000, 800, **_ALWAYS),  # type: ignore[arg-type]
    ModelFacts("claude-fable-5-1", 10_000, 50_000, 250, **_ALWAYS),  # type: ignore[arg-type]
    ModelFacts("claude-sonnet-5", 2000, 10_000, 200, thinks=True),
    ModelFacts("claude-opus-5", 5000, 25_000, 500, thinks=True),
    ModelFacts("claude-opus-4-8", 5000, 25_000, 500, group="opus-4"),
    ModelFacts("claude-opus-4-7", 5000, 25_000, 500, group="opus-4"),
    ModelFacts("claude-opus-4-6", 5000, 25_000, 500, group="opus-4", **_SIX),  # type: ignore[arg-type]
    ModelFacts("claude-sonnet-4-6", 3000, 15_000, 300, group="sonnet-4", **_SIX),  # type: ignore[arg-type]
    ModelFacts(
        "claude-sonnet-4-5-20250929",
        3000,
        15_000,
        300,
        group="sonnet-4",
        retires_at="2026-11-30T00:00:00Z",
        **_OLD,  # type: ignore[arg-type]
    ),
    ModelFacts("claude-haiku-4-5-20251001", 1000, 5000, 100, **_OLD),  # type: ignore[arg-type]
    ModelFacts("claude-opus-4-5-20251101", 5000, 25_000, 500, group="opus-4", **_OLD),  # type: ignore[arg-type]
]
MODELS = {model.id: model for model in _TABLE}
_DATE_LENGTH = len("-20250929")


def find_model(name: str) -> ModelFacts | None:
    """The model of an id, or of its alias without the date."""
    found = MODELS.get(name)
    if found is None and not name[-8:].isdigit():
        found = next(
            (model for key, model in MODELS.items() if key[:-_DATE_LENGTH] == name and key[-8:].isdigit()), None
        )
    return found
