"""The estimate as people read it."""

from pipeline.api.catalogue import Catalogue
from pipeline.engines.estimating import Estimate, ModeEstimate
from pipeline.faces.estimate import estimate_text

MODES = {
    "messages": ModeEstimate(22_320, 2_400, 0.03432, 0.0258, 0.0584),
    "batches": ModeEstimate(22_320, 2_400, 0.01716, 0.0129, 0.0292),
}
UNPRICED = {name: ModeEstimate(22_320, 2_400, None, None, None) for name in MODES}


def shown(model: str = "claude-sonnet-4-5", modes: dict[str, ModeEstimate] = MODES, *remarks: str) -> list[str]:
    """The lines for an estimate of two dozen pictures."""
    return estimate_text(Estimate(24, 25, 21_273, 21_732, modes, 24, remarks), Catalogue().model(model)).splitlines()


def test_the_service_s_own_example_is_counted_both_ways() -> None:
    """200, 1000 and 1092 px square at $3 per million: by patches, and by w*h/750 as the guide prints it."""
    lines = [" ".join(line.split()) for line in shown()]
    assert "200 x 200 64 tokens $0.000192 53 tokens $0.000159" in lines
    assert "1000 x 1000 1,296 tokens $0.003888 1,333 tokens $0.003999" in lines
    assert "1092 x 1092 1,521 tokens $0.004563 1,590 tokens $0.004770" in lines


def test_both_modes_stand_with_their_bounds() -> None:
    """Expected, low and high, and what they are made of; the mode that a run would take is pointed at."""
    lines = shown()
    assert "messages    $0.0343 ($0.0258 to $0.0584): 22,320 tokens in, about 2,400 out <- as configured" in lines
    assert "batches     $0.0172 ($0.0129 to $0.0292): 22,320 tokens in, about 2,400 out" in lines
    assert "text        about 1,047 tokens" in lines
    assert "images      25: 21,273 tokens by patches of 28 x 28 px (21,732 by w*h/750)" in lines


def test_an_unknown_price_is_said_plainly() -> None:
    """No line shows a dollar."""
    lines = shown("qwen-vl", UNPRICED)
    assert "messages    22,320 tokens in, about 2,400 out; the price is not known" in lines
    assert not [line for line in lines if "$" in line]


def test_remarks_are_one_line_each_and_no_terminal_obeys_them() -> None:
    """They may name items, and ids are data."""
    lines = shown("claude-sonnet-4-5", MODES, "odd \x1b[31m id\n", "second")
    assert "note        odd \\x1b[31m id\\n" in lines
    assert "note        second" in lines
