"""The prompt cache: minimum, lives, lookback, and the rule that nothing is readable before the first response."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.standin.caching import CacheUse, PromptCache
from pipeline.standin.prefix import Step

MINIMUM = 1000


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """The time now."""
        return self.now


def steps(*marked: tuple[int, str | None], text: str = "same") -> list[Step]:
    """Steps with these tokens and lives; the same text makes the same prefixes."""
    return [Step(tokens, f"{text}{tokens}".encode(), life) for tokens, life in marked]


def asked(cache: PromptCache, prompt: list[Step]) -> CacheUse:
    """A request whose response has begun."""
    use = cache.look_up(prompt, MINIMUM)
    cache.response_begun(use)
    return use


def split(use: CacheUse) -> tuple[int, int, int, int]:
    """Uncached, read, written for five minutes and for an hour."""
    return use.uncached, use.read, use.written_5m, use.written_1h


def test_the_second_request_reads_what_the_first_wrote() -> None:
    """A prefix is written once and then read; what lies after the mark is plain input."""
    cache = PromptCache(Clock())
    prompt = steps((1200, "5m"), (1300, None))
    assert split(asked(cache, prompt)) == (100, 0, 1200, 0)
    assert split(asked(cache, prompt)) == (100, 1200, 0, 0)


def test_requests_before_the_first_response_all_miss() -> None:
    """Parallel first requests each pay for the write."""
    cache = PromptCache(Clock())
    prompt = steps((1200, "5m"))
    first, second = cache.look_up(prompt, MINIMUM), cache.look_up(prompt, MINIMUM)
    assert first.read == second.read == 0
    cache.response_begun(first)
    assert cache.look_up(prompt, MINIMUM).read == 1200


def test_a_prefix_below_the_minimum_is_plain_input() -> None:
    """Nothing is written and nothing is said; the minimum itself is enough."""
    cache = PromptCache(Clock())
    assert split(asked(cache, steps((999, "5m"), (1500, None)))) == (1500, 0, 0, 0)
    assert split(asked(cache, steps((1000, "5m")))) == (0, 0, 1000, 0)


def test_a_life_counts_from_the_start_of_the_request_and_is_renewed_by_a_read() -> None:
    """Five minutes after its last use an entry is gone, and not before."""
    clock = Clock()
    cache = PromptCache(clock)
    prompt = steps((1200, "5m"))
    use = cache.look_up(prompt, MINIMUM)
    clock.now = 200
    cache.response_begun(use)
    clock.now = 299
    assert asked(cache, prompt).read == 1200
    clock.now = 598
    assert asked(cache, prompt).read == 1200
    clock.now = 898
    assert split(asked(cache, prompt)) == (0, 0, 1200, 0)


def test_an_hour_lasts_an_hour_and_is_split_from_five_minutes() -> None:
    """Writes are told apart by their life, and only the longer one is left after ten minutes."""
    clock = Clock()
    cache = PromptCache(clock)
    prompt = steps((1200, "1h"), (1700, "5m"), (1800, None))
    assert split(asked(cache, prompt)) == (100, 0, 500, 1200)
    clock.now = 600
    assert split(asked(cache, prompt)) == (100, 1200, 500, 0)
    clock.now = 4201
    assert split(asked(cache, prompt)) == (100, 0, 500, 1200)


def test_a_mark_looks_back_twenty_blocks_and_no_further() -> None:
    """A longer conversation reads the prefix of an earlier mark, if that is near enough."""
    for further, read in ((19, 1200), (20, 0)):
        cache = PromptCache(Clock())
        asked(cache, steps((1200, "5m")))
        grown = steps((1200, None), *((1200 + n, None) for n in range(1, further)), (1200 + further, "5m"))
        assert asked(cache, grown).read == read


def test_another_prefix_misses() -> None:
    """Only what is equal to the last byte is read."""
    cache = PromptCache(Clock())
    asked(cache, steps((1200, "5m"), text="one"))
    assert asked(cache, steps((1200, "5m"), text="two")).read == 0


def test_reads_do_not_count_against_the_input_limit() -> None:
    """What is limited is what was not read."""
    use = CacheUse(100, read=1200, written_5m=300, written_1h=50)
    assert (use.prompt, use.limited) == (1650, 450)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), st.sampled_from([None, "5m", "1h"])), min_size=1, max_size=8))
def test_the_parts_always_add_up_to_the_prompt(sizes: list[tuple[int, str | None]]) -> None:
    """However a prompt is marked, cold or warm, each of its tokens is billed once and none is negative."""
    total, marked = 0, []
    for size, life in sizes:
        total += size
        marked.append((total, life))
    cache = PromptCache(Clock())
    for _ in range(2):
        use = asked(cache, steps(*marked))
        assert use.prompt == max(1, total)
        assert min(split(use)) >= 0
    assert use.written_5m + use.written_1h == 0
