"""The budget among many: whatever dies and whatever gets lost, no more is spent than there is."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pipeline.limits.budget import Budget
from pipeline.limits.leasing import MoneyReport
from pipeline.limits.purse import DOUBT_S, Purse

LIMIT = 10.0
WORST = 0.5
NAMES = ("a", "b", "c")


class Spender:
    """A tenant with its own budget, as a worker's pacer has it."""

    def __init__(self) -> None:
        self.budget = Budget(0.0, grows=True)
        self.flying = 0
        self.ended = False

    def told(self) -> MoneyReport:
        """What its report says."""
        one = self.budget
        return MoneyReport(one.spent_usd, one.reserved_usd, one.wanted_usd, one.worst_usd)

    def try_to_send(self) -> bool:
        """Sends one request where the budget lets it; else wants to."""
        if self.budget.may_reserve(WORST):
            self.budget.reserve(WORST)
            self.flying += 1
            return True
        self.budget.wanted_usd = WORST
        return False


def renew(purse: Purse, name: str, spender: Spender, now: float, *, taken: bool = True, arrives: bool = True) -> None:
    """One report and its answer."""
    purse.report(name, spender.told(), taken=taken)
    ceiling, more = purse.offer(name, now)
    assert ceiling is not None
    if arrives:
        spender.budget.limit_usd, spender.ended = ceiling, not more


class PurseMachine(RuleBasedStateMachine):
    """Spenders beside a purse; requests end cheaper than feared, messages get lost, spenders die."""

    @initialize()
    def begin(self) -> None:
        """Nothing is spent."""
        self.purse = Purse(LIMIT)
        self.spenders: dict[str, Spender] = {}
        self.names: dict[str, str] = {}
        self.arrived: dict[str, bool] = {}
        self.gone = 0.0
        self.dead: dict[str, tuple[float, int]] = {}
        self.lives = 0
        self.now = 0.0

    @rule(who=st.sampled_from(NAMES), arrives=st.booleans())
    def report(self, who: str, arrives: bool) -> None:
        """A spender reports."""
        if who not in self.spenders:
            self.lives += 1
            self.names[who], self.spenders[who] = f"{who}{self.lives}", Spender()
        name = self.names[who]
        taken = self.arrived.get(name, False)
        renew(self.purse, name, self.spenders[who], self.now, taken=taken, arrives=arrives)
        self.arrived[name] = arrives

    @rule(who=st.sampled_from(NAMES), count=st.integers(1, 5))
    def send(self, who: str, count: int) -> None:
        """A spender sends as many as it may."""
        for _ in range(count):
            if who in self.spenders:
                self.spenders[who].try_to_send()

    @rule(who=st.sampled_from(NAMES), part=st.floats(0, 1))
    def end(self, who: str, part: float) -> None:
        """A request ends, at a part of what it might have cost."""
        if who in self.spenders and self.spenders[who].flying:
            self.spenders[who].budget.settle(WORST, WORST * part)
            self.spenders[who].flying -= 1

    @rule(who=st.sampled_from(NAMES))
    def die(self, who: str) -> None:
        """A spender is killed; the service may bill what it had in flight."""
        if who not in self.spenders:
            return
        one, name = self.spenders.pop(who), self.names.pop(who)
        self.dead[name] = (one.budget.spent_usd, one.flying)
        self.gone += one.budget.spent_usd + one.flying * WORST
        self.purse.lose(name, self.now)

    @precondition(lambda self: bool(self.dead))
    @rule()
    def find_out(self) -> None:
        """What a dead one spent becomes known."""
        name, (spent, flying) = self.dead.popitem()
        self.purse.settle(name, spent, flying)

    @invariant()
    def holds(self) -> None:
        """Everything spent and in flight, at its worst, is within the limit."""
        if hasattr(self, "purse"):
            alive = sum(one.budget.spent_usd + one.budget.reserved_usd for one in self.spenders.values())
            assert alive + self.gone <= LIMIT + 1e-6


TestPurse = PurseMachine.TestCase
TestPurse.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_the_last_dollar_is_spent_though_it_lies_in_small_parts() -> None:
    """Three that wait with too little each: what they hold comes together, and all end when nothing is left."""
    purse, spenders = Purse(4.0), {name: Spender() for name in NAMES}
    for turn in range(200):
        for name, one in spenders.items():
            renew(purse, name, one, float(turn))
            if not one.ended and one.try_to_send():
                one.budget.settle(WORST, 0.37)
    spent = sum(one.budget.spent_usd for one in spenders.values())
    assert 4.0 - WORST < spent <= 4.0
    assert all(one.ended for one in spenders.values())


def test_what_a_dead_one_held_is_waited_for_and_comes_back() -> None:
    """Until somebody has found out what it spent, or for a minute."""
    purse, dead, other = Purse(1.0), Spender(), Spender()
    renew(purse, "dead", dead, 0.0)
    dead.try_to_send()
    renew(purse, "dead", dead, 0.0)
    dead.try_to_send()
    purse.lose("dead", 1.0)
    other.try_to_send()
    renew(purse, "other", other, 2.0)
    assert not other.ended
    purse.settle("dead", 0.1, 0)
    renew(purse, "other", other, 3.0)
    assert other.try_to_send()


def test_what_nobody_finds_out_is_taken_as_spent() -> None:
    """After a while nobody waits for it."""
    purse, dead, other = Purse(1.0), Spender(), Spender()
    for _ in range(5):
        renew(purse, "dead", dead, 0.0)
        dead.try_to_send()
    purse.lose("dead", 1.0)
    other.try_to_send()
    renew(purse, "other", other, 1.0 + DOUBT_S + 1)
    assert other.ended


def test_without_a_budget_nobody_is_bound() -> None:
    """No ceiling is told."""
    purse = Purse(None)
    purse.report("a", MoneyReport(5.0, 5.0, 5.0, 5.0), taken=False)
    assert purse.offer("a", 0.0) == (None, True)
