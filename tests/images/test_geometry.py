"""Sizes and tokens: the table of the API's documentation, and what must hold for every size."""

from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.images.geometry import (
    HIGH,
    MAX_BASE64_BYTES,
    STANDARD,
    Bounds,
    base64_length,
    fits,
    image_tokens,
    seed_tokens,
    shrink,
    tight_shrink,
)

TABLE = """
1x1        1x1        1     1x1        1     0
28x28      28x28      1     28x28      1     1
29x28      29x28      2     29x28      2     1
200x200    200x200    64    200x200    64    53
640x480    640x480    414   640x480    414   410
1000x1000  1000x1000  1296  1000x1000  1296  1333
1024x768   1024x768   1036  1024x768   1036  1049
1280x720   1280x720   1196  1280x720   1196  1229
1092x1092  1092x1092  1521  1092x1092  1521  1590
1093x1093  1092x1092  1521  1093x1093  1600  1593
951x1268   951x1268   1564  951x1268   1564  1608
953x1270   952x1269   1564  953x1270   1610  1614
897x1346   896x1345   1568  897x1346   1617  1610
820x1458   819x1456   1560  820x1458   1590  1594
784x1568   784x1568   1568  784x1568   1568  1639
785x1570   784x1568   1568  785x1570   1653  1643
1568x28    1568x28    56    1568x28    56    59
1569x28    1568x28    56    1569x28    57    59
3000x10    1568x5     56    2576x9     92    40
100x7000   22x1568    56    37x2576    184   933
1075x1520  924x1307   1551  1075x1520  2145  2179
1500x1500  1092x1092  1521  1500x1500  2916  3000
1920x1080  1456x819   1560  1920x1080  2691  2765
2000x1500  1269x952   1564  2000x1500  3888  4000
2000x2000  1092x1092  1521  1932x1932  4761  5333
1933x1933  1092x1092  1521  1932x1932  4761  4982
2576x1456  1456x823   1560  2576x1456  4784  5001
2577x1450  1456x819   1560  2576x1449  4784  4982
3840x2160  1456x819   1560  2576x1449  4784  11059
4000x3000  1270x952   1564  2212x1659  4740  16000
3024x4032  952x1270   1564  1659x2212  4740  16257
8000x8000  1092x1092  1521  1932x1932  4761  85333
8000x100   1568x20    56    2576x32    184   1067
"""
"""Input; size and tokens on the standard tier, then on the high one; the estimate w * h / 750."""
WRINKLE = (2000, 1500)
"""The documentation's own table says 1269 where its stated algorithm gives 1270: 1 px is allowed there."""

sides = st.integers(1, 20_000)
edges = st.integers(28, 3000)
caps = st.integers(1, 5000)


def _size(text: str) -> tuple[int, int]:
    wide, high = text.split("x")
    return int(wide), int(high)


ROWS = [line.split() for line in TABLE.split("\n") if line]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
@pytest.mark.parametrize(("bounds", "at"), [(STANDARD, 1), (HIGH, 3)], ids=["standard", "high"])
def test_shrinks_and_counts_as_the_documented_table(row: list[str], bounds: Bounds, at: int) -> None:
    """Each size of the table is shrunk, and costs tokens, as the service's rule says for the tier."""
    original, expected = _size(row[0]), _size(row[at])
    found = shrink(*original, bounds)
    if original == WRINKLE:
        assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) <= 1
    else:
        assert found == expected
    assert image_tokens(*found) == int(row[at + 1])
    assert fits(*original, bounds) is (found == original)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_seed_estimate_is_w_times_h_by_750(row: list[str]) -> None:
    """The older estimate is kept as the guide gives it, without any cap."""
    assert seed_tokens(*_size(row[0])) == int(row[5])


@pytest.mark.parametrize(
    ("ratio", "size"), [((1, 1), (1932, 1932)), ((4, 3), (2212, 1659)), ((3, 2), (2352, 1568)), ((2, 1), (2576, 1288))]
)
def test_largest_exact_ratios_of_the_high_tier_fit_and_no_larger_ones(
    ratio: tuple[int, int], size: tuple[int, int]
) -> None:
    """The documented largest size at each ratio fits, and the next one at the same ratio does not."""
    assert fits(*size, HIGH)
    assert not fits(size[0] + ratio[0], size[1] + ratio[1], HIGH)


def test_base64_bound_is_the_documented_file_size() -> None:
    """The largest raw file under the limit is 3,932,160 bytes, and one byte more is over."""
    assert base64_length(3_932_160) == MAX_BASE64_BYTES
    assert base64_length(3_932_161) > MAX_BASE64_BYTES
    assert [base64_length(size) for size in (0, 1, 3, 4)] == [0, 4, 4, 8]


@pytest.mark.parametrize(("edge", "cap"), [(27, 100), (100, 0), (0, 0), (-28, 5)])
def test_bounds_under_one_patch_are_refused(edge: int, cap: int) -> None:
    """Bounds that no image fits are an error, never a picture of 1 x 1 px."""
    with pytest.raises(ValueError, match="no image fits"):
        Bounds(edge, cap)


@settings(deadline=None, max_examples=150)
@given(sides, sides, edges, caps)
def test_shrink_is_the_largest_long_edge_that_fits(width: int, height: int, edge: int, cap: int) -> None:
    """A bisection finds what a plain search from the top finds: the first long edge whose size fits."""
    bounds = Bounds(edge, cap)
    long, short = max(width, height), min(width, height)
    for candidate in range(min(long, edge), 0, -1):
        other = max(1, round(candidate * short / long)) if candidate < long else short
        across, along = ceil(candidate / 28), ceil(other / 28)
        if across * 28 <= edge and along * 28 <= edge and across * along <= cap:
            break
    found = shrink(width, height, bounds)
    assert max(found) == candidate
    assert abs(min(found) - other) <= (candidate * short % long * 2 == long)  # the float of a tie may fall either way


@settings(deadline=None, max_examples=200)
@given(sides, sides, edges, caps)
def test_shrunk_size_fits_and_keeps_the_aspect(width: int, height: int, edge: int, cap: int) -> None:
    """Whatever the image and the bounds, the result fits, is not larger, and is off the aspect by half a pixel."""
    bounds = Bounds(edge, cap)
    wide, high = shrink(width, height, bounds)
    assert fits(wide, high, bounds)
    assert wide <= width
    assert high <= height
    if min(wide, high) > 1:
        assert abs(wide * height - high * width) * 2 <= max(width, height)


@settings(deadline=None, max_examples=200)
@given(sides, sides, edges, caps)
def test_tight_size_costs_no_more_and_loses_two_percent_at_most(width: int, height: int, edge: int, cap: int) -> None:
    """The size we send fits too, costs no more than the service's own, and keeps 98 % of each side but a pixel."""
    bounds = Bounds(edge, cap)
    usual, tight = shrink(width, height, bounds), tight_shrink(width, height, bounds)
    assert fits(*tight, bounds)
    assert image_tokens(*tight) <= image_tokens(*usual)
    for ours, theirs in zip(tight, usual, strict=True):
        assert max(1, theirs * 49 // 50 - 1) <= ours <= theirs
    if usual == (width, height):
        assert tight == usual


def test_tight_size_drops_a_nearly_empty_row_of_patches() -> None:
    """897 x 1346 is seen as 896 x 1345, whose last row of patches holds 1 px: it ends on the patch before."""
    assert image_tokens(*shrink(897, 1346, STANDARD)) == 32 * 49
    wide, high = tight_shrink(897, 1346, STANDARD)
    assert high == 48 * 28
    assert image_tokens(wide, high) == 32 * 48
