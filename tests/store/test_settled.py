"""The index of what is settled, against a plain dictionary that is told the same."""

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.store.journal import Journal
from pipeline.store.keys import item_key
from pipeline.store.settled import SettledAs, Standing

MARKS = ("first", "second")
marks = st.lists(
    st.tuples(st.sampled_from("abcde"), st.sampled_from(MARKS), st.sampled_from(list(SettledAs))), max_size=30
)


def told(said: list[tuple[str, str, SettledAs]]) -> dict[tuple[str, str], SettledAs]:
    """What the index should know: the last word on each item, but that a success stays."""
    known: dict[tuple[str, str], SettledAs] = {}
    for name, mark, state in said:
        if known.get((name, mark)) is not SettledAs.SUCCEEDED:
            known[name, mark] = state
    return known


@given(said=marks)
@settings(max_examples=40, deadline=None)
def test_the_newest_word_counts_and_a_success_is_never_unmade(
    said: list[tuple[str, str, SettledAs]], tmp_path_factory: object
) -> None:
    """Standings, successes and answers under other fingerprints agree with a dictionary."""
    folder = Path(str(tmp_path_factory.mktemp("index")))  # type: ignore[attr-defined]
    journal = Journal(folder / "journal.sqlite")
    keys = {name: item_key(name) for name in "abcde"}
    with journal.transaction():
        for name, mark, state in said:
            journal.settle(keys[name], mark, Standing(state))
    known = told(said)
    for mark in MARKS:
        other = MARKS[1 - MARKS.index(mark)]
        good = {name for name in keys if known.get((name, mark)) is SettledAs.SUCCEEDED}
        found = journal.standings(list(keys.values()), mark)
        assert {key: each.state for key, each in found.items()} == {
            keys[name]: state for (name, of), state in known.items() if of == mark
        }
        assert journal.successes(list(keys.values()), mark) == len(good)
        assert {name for name, key in keys.items() if journal.has_succeeded(key, mark)} == good
        elsewhere = {name for name in keys if known.get((name, other)) is SettledAs.SUCCEEDED} - good
        assert journal.answered_otherwise(list(keys.values()), mark) == len(elsewhere)
    journal.close()


def test_a_fingerprint_of_a_transaction_that_was_taken_back_is_numbered_anew(tmp_path: Path) -> None:
    """Its number is not remembered, so it cannot come to stand for another one."""
    journal = Journal(tmp_path / "journal.sqlite")
    journal.begin()
    journal.settle(item_key("a"), "lost", Standing(SettledAs.SUCCEEDED))
    journal.rollback()
    with journal.transaction():
        journal.settle(item_key("a"), "kept", Standing(SettledAs.SUCCEEDED))
        journal.settle(item_key("b"), "lost", Standing(SettledAs.SUCCEEDED))
    assert journal.fingerprints() == ["kept", "lost"]
    assert journal.settled_sums()["kept"] == (1, int.from_bytes(item_key("a")))
    journal.close()
