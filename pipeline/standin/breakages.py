"""The misfortunes of connections: closed, reset, mute, late, slow or endless. One small class each."""

import json
from dataclasses import dataclass

from pipeline.standin.delivery import Delivery
from pipeline.standin.misfortunes import Misfortune
from pipeline.standin.problems import Problem

__all__ = [
    "BlackHole",
    "Close",
    "Drip",
    "Endless",
    "HalfOpen",
    "LostAnswer",
    "Reset",
    "ResetAfterBody",
    "ResetMidBody",
    "Slow",
    "Truncated",
]


class Close(Misfortune):
    """The connection is closed in order before any byte of an answer; the work was not done."""

    name = "close"

    def refuse(self) -> Delivery:
        """The end."""
        return Delivery(part=0.0, ending="close")


class Reset(Misfortune):
    """The connection is reset before any byte of an answer; the work was not done."""

    name = "reset"

    def refuse(self) -> Delivery:
        """The reset."""
        return Delivery(part=0.0, ending="reset")


@dataclass(frozen=True)
class LostAnswer(Misfortune):
    """The connection is reset before any byte of an answer; the work was done, and is billed.

    With a `status` it is answered with that error instead. A batch whose creation is answered so is an orphan.
    """

    name = "lost_answer"
    status: int = 0

    def deliver(self) -> Delivery:
        """The reset, or the error."""
        if not self.status:
            return Delivery(part=0.0, ending="reset")
        problem = Problem(self.status, "scripted error after the work")
        return Delivery(json.dumps(problem.body("")).encode(), status=self.status)


@dataclass(frozen=True)
class ResetMidBody(Misfortune):
    """The connection is reset within the body, after a part of it, or after so many `bytes`."""

    name = "reset_mid_body"
    part: float = 0.5
    bytes: int = 0

    def deliver(self) -> Delivery:
        """The cut."""
        return Delivery(part=self.part, cut_bytes=self.bytes, ending="reset")


class ResetAfterBody(Misfortune):
    """The body arrives whole, then the connection is reset instead of kept."""

    name = "reset_after_body"

    def deliver(self) -> Delivery:
        """The reset."""
        return Delivery(ending="reset")


@dataclass(frozen=True)
class Truncated(Misfortune):
    """The connection is closed in order after a part of the announced length, or after so many `bytes`."""

    name = "truncated"
    part: float = 0.5
    bytes: int = 0

    def deliver(self) -> Delivery:
        """The cut."""
        return Delivery(part=self.part, cut_bytes=self.bytes, ending="close")


class HalfOpen(Misfortune):
    """The answer arrives whole; the connection stays up, and nothing that is sent over it later is ever read."""

    name = "half_open"

    def deliver(self) -> Delivery:
        """The silence that follows."""
        return Delivery(ending="mute")


class BlackHole(Misfortune):
    """The request is taken and never answered."""

    name = "black_hole"

    def deliver(self) -> Delivery:
        """The silence."""
        return Delivery(silent=True)


@dataclass(frozen=True)
class Slow(Misfortune):
    """The first byte is late."""

    name = "slow"
    seconds: float = 1.0

    def deliver(self) -> Delivery:
        """The delay."""
        return Delivery(delay_s=self.seconds)


@dataclass(frozen=True)
class Drip(Misfortune):
    """The body comes a byte at a time, so long apart."""

    name = "drip"
    seconds: float = 0.2

    def deliver(self) -> Delivery:
        """The drip."""
        return Delivery(drip_s=self.seconds)


class Endless(Misfortune):
    """A body of white space that never ends and has no length."""

    name = "endless"

    def deliver(self) -> Delivery:
        """The flood."""
        return Delivery(endless=True)
