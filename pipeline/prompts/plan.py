"""Which images and which text make up each turn, and the conversation that is sent for it. No I/O.

Images stand before the text; two or more in one turn are labelled `Image 1:`, `Image 2:`, from 1 again in each turn.
The assistant's real answers are carried along, and a prefill opens the last turn's answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.records import ImageRef, Message, PreparedImage
from pipeline.settings import SettingsManifest, SettingsPrompt

__all__ = ["TurnPlan", "image_columns", "images_by_turn"]


@dataclass(frozen=True, slots=True)
class TurnPlan:
    """The conversation of one item.

    Attributes:
        texts: the user's text of each turn.
        images: the images of each turn.
        prefill: how the last answer begins, trailing white space dropped; empty for none.
        label: whether several images of one turn are labelled.
    """

    texts: tuple[str, ...]
    images: tuple[tuple[PreparedImage, ...], ...]
    prefill: str = ""
    label: bool = True

    def messages(self, replies: Sequence[str]) -> list[Message]:
        """What is sent for the turn after `replies`."""
        turn = len(replies)
        sent: list[Message] = []
        for index in range(turn + 1):
            sent.append(Message("user", (*self._shown(self.images[index]), self.texts[index])))
            if index < turn:
                sent.append(Message("assistant", (replies[index],)))
        if self.prefill and turn == len(self.texts) - 1:
            sent.append(Message("assistant", (self.prefill,)))
        return sent

    def _shown(self, images: tuple[PreparedImage, ...]) -> list[str | PreparedImage]:
        if len(images) < 2 or not self.label:
            return list(images)
        return [part for number, image in enumerate(images, 1) for part in (f"Image {number}:", image)]


def image_columns(manifest: SettingsManifest, prompt: SettingsPrompt) -> tuple[str, ...]:
    """The manifest's columns that hold images, in the order in which they are sent."""
    if prompt.turn_images is None:
        return (manifest.image_column,) if manifest.image_column else ()
    names = [name for entry in prompt.turn_images for name in ([entry] if isinstance(entry, str) else entry) if name]
    return tuple(dict.fromkeys(names))


def images_by_turn(prompt: SettingsPrompt, refs: Sequence[ImageRef]) -> list[list[int]]:
    """For each turn, which of an item's images are sent with it, as indices into `refs`."""
    if prompt.turn_images is None:
        turns = 1 if isinstance(prompt.user, str) else len(prompt.user)
        return [list(range(len(refs))), *([] for _ in range(turns - 1))]
    wanted = [[entry] if isinstance(entry, str) else entry for entry in prompt.turn_images]
    return [[index for name in names for index, ref in enumerate(refs) if ref.column == name] for names in wanted]
