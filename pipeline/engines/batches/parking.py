"""Whoever is asked where nobody may be: an item that needs an answer of the service is parked with its question."""

from pipeline.api.client import Answered, Question
from pipeline.engines.preparing import ReadyItem

__all__ = ["ParkedError", "Parking"]


class ParkedError(Exception):
    """The service has to be asked, and will be in a batch.

    Attributes:
        question: that is to be asked.
        ready: the item as the question has it, its images uploaded where they travel as files.
    """

    def __init__(self, question: Question) -> None:
        super().__init__(question.item_id)
        self.question = question
        self.ready: ReadyItem | None = None


class Parking:
    """Asks nobody."""

    async def ask(self, question: Question) -> Answered:
        """Never an answer.

        Raises:
            ParkedError: always.
        """
        raise ParkedError(question)
