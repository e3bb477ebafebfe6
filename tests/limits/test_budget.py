"""The budget as a state machine: whatever is reserved, settled or lost, the limit holds."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pipeline.limits.budget import Budget

_LIMIT_MICRO = 1_000_000


class BudgetMachine(RuleBasedStateMachine):
    """Requests in flight against a budget of one dollar; the bill is kept in whole micro-dollars beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = Budget(_LIMIT_MICRO / 1e6)
        self.flying: list[int] = []
        self.bill = 0

    @rule(worst=st.integers(0, 400_000))
    def ask(self, worst: int) -> None:
        """A request is sent if the budget lets it, and it lets it exactly where it fits."""
        fits = self.bill + sum(self.flying) + worst <= _LIMIT_MICRO
        assert self.budget.may_reserve(worst / 1e6) == fits
        if fits:
            self.budget.reserve(worst / 1e6)
            self.flying.append(worst)

    @precondition(lambda self: self.flying)
    @rule(share=st.integers(0, 100))
    def answer(self, share: int) -> None:
        """An answer costs a part of what was reserved for it."""
        worst = self.flying.pop(0)
        actual = worst * share // 100
        self.budget.settle(worst / 1e6, actual / 1e6)
        self.bill += actual

    @precondition(lambda self: self.flying)
    @rule()
    def lose(self) -> None:
        """A request whose end is never known may have been billed in full."""
        worst = self.flying.pop()
        self.budget.lose(worst / 1e6)
        self.bill += worst

    @invariant()
    def never_more_than_the_limit(self) -> None:
        """The service's bill, and what is in flight at its dearest, stay within the limit."""
        assert self.bill + sum(self.flying) <= _LIMIT_MICRO
        assert abs(self.budget.spent_usd - self.bill / 1e6) < 1e-9

    @invariant()
    def room_that_could_come_is_what_is_in_flight(self) -> None:
        """A request is hopeless exactly where it would not fit beside what is spent for good."""
        left = _LIMIT_MICRO - self.bill
        assert self.budget.could_ever(left / 1e6)
        assert not self.budget.could_ever((left + 1) / 1e6)


TestBudgetMachine = BudgetMachine.TestCase
TestBudgetMachine.settings = settings(deadline=None, max_examples=40, stateful_step_count=30)


def test_without_a_limit_everything_fits() -> None:
    """No budget refuses nothing, and still counts what was spent."""
    budget = Budget(None)
    assert budget.may_reserve(1e9)
    assert budget.could_ever(1e9)
    budget.reserve(5.0)
    budget.settle(5.0, 3.0)
    assert (budget.spent_usd, budget.reserved_usd) == (3.0, 0.0)


def test_a_budget_of_nothing_lets_only_free_requests_pass() -> None:
    """Zero dollars is a limit, not the absence of one."""
    budget = Budget(0.0)
    assert budget.may_reserve(0.0)
    assert not budget.may_reserve(0.000001)
