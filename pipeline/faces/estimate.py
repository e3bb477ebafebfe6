"""What `pipeline estimate` found, as people read it."""

from pipeline.api.catalogue import Model, cost_usd
from pipeline.engines.estimating import Estimate, ModeEstimate
from pipeline.faces.plain import counted, money, safe_line
from pipeline.images.geometry import image_tokens, seed_tokens
from pipeline.records import Usage

__all__ = ["estimate_text"]

_SIZES = ((200, 200), (1000, 1000), (1092, 1092))
"""The service's own example of what images cost, from its vision guide."""


def estimate_text(estimate: Estimate, model: Model) -> str:
    """Items, tokens and dollars for both modes; what is uncertain; and the service's own example of image cost."""
    text_tokens = max(0, estimate.modes["messages"].input_tokens - estimate.image_tokens)
    lines = [
        f"items       {estimate.items:,}",
        _images_line(estimate),
        f"text        about {counted(text_tokens, 'token')}",
        *(_mode_line(name, mode, chosen=name == estimate.mode) for name, mode in estimate.modes.items()),
        *(f"note        {safe_line(remark)}" for remark in estimate.remarks),
        "",
        *_example_lines(model),
        "",
        f"{counted(estimate.sampled, 'item')} looked at, by the headers of their images; nothing sent to be answered",
    ]
    return "\n".join(lines)


def _images_line(estimate: Estimate) -> str:
    by_seed = f"{estimate.seed_image_tokens:,} by w*h/750"
    return f"images      {estimate.images:,}: {estimate.image_tokens:,} tokens by patches of 28 x 28 px ({by_seed})"


def _mode_line(name: str, mode: ModeEstimate, *, chosen: bool) -> str:
    tokens = f"{mode.input_tokens:,} tokens in, about {mode.output_tokens:,} out"
    if mode.cost_usd is None or mode.cost_usd_low is None or mode.cost_usd_high is None:
        return f"{name:<11} {tokens}; the price is not known"
    price = f"{money(mode.cost_usd)} ({money(mode.cost_usd_low)} to {money(mode.cost_usd_high)})"
    return f"{name:<11} {price}: {tokens}{' <- as configured' if chosen else ''}"


def _example_lines(model: Model) -> list[str]:
    """The three sizes of the vision guide, counted by both rules at this model's price."""
    price = f"at ${model.input:g} per million input tokens" if model.input is not None else "its price is not known"
    lines = [f"The vision guide's example for {model.id}, {price}:", f"  {'image px':<14}{'by patches':<26}by w*h/750"]
    for width, height in _SIZES:
        columns = [_column(model, tokens) for tokens in (image_tokens(width, height), seed_tokens(width, height))]
        lines.append(f"  {f'{width} x {height}':<14}{columns[0]:<26}{columns[1]}")
    return lines


def _column(model: Model, tokens: int) -> str:
    usd = cost_usd(model, Usage(tokens)) if model.priced else None
    return f"{tokens:,} tokens" + (f"  ${usd:.6f}" if usd is not None else "")
