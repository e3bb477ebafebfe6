"""Where one item stands in its conversation: what was asked, answered and paid so far. No I/O."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from pipeline.api.client import Answered
from pipeline.api.messages import Answer, parse_answer
from pipeline.engines.preparing import ReadyItem
from pipeline.errors import AnswerError
from pipeline.records import Message, Mode, Usage
from pipeline.store.journal import PaidTurn

__all__ = ["Talk"]


@dataclass(slots=True)
class Talk:
    """An item's conversation so far.

    Attributes:
        ready: the item; its images change where the service wants them otherwise.
        paid: answers of earlier runs that have not been taken up yet, in order.
        between: calls of tools and their results since the last reply, two messages for each turn of tools.
        turn: of the service's answers, counted from 1.
        made: attempts of the current turn.
        before: attempts of the turns before it.
        mode: by which the last answer came.
        larger: whether the current turn is asked with the larger cap.
        tried: remedies that were.
        data: what the last reply says by the schema.
    """

    ready: ReadyItem
    paid: deque[PaidTurn] = field(default_factory=deque)
    replies: list[str] = field(default_factory=list)
    between: list[Message] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    cost_usd: float = 0.0
    turn: int = 1
    made: int = 0
    before: int = 0
    latency_ms: float = 0.0
    warnings: list[str] = field(default_factory=list)
    last: Answer | None = None
    request_id: str | None = None
    mode: Mode = Mode.MESSAGES
    larger: bool = False
    tried: set[str] = field(default_factory=set)
    data: Any = None

    @property
    def is_last(self) -> bool:
        """Whether the user's last text is being answered."""
        return len(self.replies) == len(self.ready.plan.texts) - 1

    @property
    def tool_turns(self) -> int:
        """How often tools were called for the current reply."""
        return len(self.between) // 2

    @property
    def has_paid(self) -> bool:
        """Whether a further answer of the current turn was paid for in an earlier run."""
        return bool(self.paid) and self.paid[0].turn == self.turn

    def add(self, answered: Answered) -> Answer:
        """Counts an answer that was paid for, now or in an earlier run."""
        answer = answered.answer
        if answer.billed:
            self.usage += answer.usage
        self.cost_usd += answered.cost_usd
        self.made = answered.attempts
        self.latency_ms += answered.latency_ms
        self.warnings += answer.warnings
        self.last = answer
        self.request_id = answered.request_id
        self.mode = answered.mode
        return answer

    def next_turn(self) -> None:
        """The turn has its answer."""
        self.turn += 1
        while self.paid and self.paid[0].turn < self.turn:
            # Paid for under settings that asked more often (`models` is in no fingerprint): it counts, and is not read.
            stale = self.paid.popleft()
            self.usage += _billed(stale.answer)
            self.cost_usd += stale.body["cost_usd"] or 0.0
            self.made = max(self.made, stale.attempt)
        self.before, self.made, self.larger = self.before + self.made, 0, False

    def close(self, reply: str) -> None:
        """The user's text has its reply."""
        self.replies.append(reply)
        self.between.clear()
        self.next_turn()

    def fault(self, error_type: str, text: str) -> AnswerError:
        """A failure of the last answer."""
        return AnswerError(error_type, text, http_status=200, request_id=self.request_id)


def _billed(raw: bytes) -> Usage:
    """What is billed of an answer, as far as it can be read: one from a batch is kept as it came."""
    try:
        answer = parse_answer(raw)
    except AnswerError:
        return Usage()
    return answer.usage if answer.billed else Usage()
