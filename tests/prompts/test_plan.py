"""Plans: which images and texts are sent in which turn."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.prompts.plan import TurnPlan, image_columns, images_by_turn
from pipeline.records import ImageRecord, ImageRef, Message, PreparedImage
from pipeline.settings import SettingsManifest, SettingsPrompt

MANIFEST = SettingsManifest(path="m.csv")


def picture(name: str) -> PreparedImage:
    """An image that can be told from others."""
    return PreparedImage(name.encode(), ImageRecord(name))


A, B, C = picture("a"), picture("b"), picture("c")


def test_images_stand_before_the_text() -> None:
    """A single image has no label."""
    assert TurnPlan(("Describe.",), ((A,),)).messages([]) == [Message("user", (A, "Describe."))]


def test_several_images_are_labelled_from_one_in_each_turn() -> None:
    """Two or more images of a turn are numbered, and the numbers begin again in the next turn."""
    plan = TurnPlan(("Compare.", "And these?"), ((A, B), (B, C)))
    first, _, second = plan.messages(["They differ."])
    assert first.parts == ("Image 1:", A, "Image 2:", B, "Compare.")
    assert second.parts == ("Image 1:", B, "Image 2:", C, "And these?")


def test_labels_can_be_left_out() -> None:
    """With `prompt.label_images = false` the images stand alone."""
    assert TurnPlan(("Compare.",), ((A, B),), label=False).messages([])[0].parts == (A, B, "Compare.")


def test_the_answers_are_carried_along() -> None:
    """Each turn is sent with everything before it, the assistant's real answers included."""
    plan = TurnPlan(("one", "two", "three"), ((A,), (), ()))
    assert plan.messages([]) == [Message("user", (A, "one"))]
    assert plan.messages(["first", "second"]) == [
        Message("user", (A, "one")),
        Message("assistant", ("first",)),
        Message("user", ("two",)),
        Message("assistant", ("second",)),
        Message("user", ("three",)),
    ]


def test_a_prefill_opens_the_last_answer_alone() -> None:
    """Earlier turns are answered freely."""
    plan = TurnPlan(("one", "two"), ((), ()), prefill="A photo of")
    assert [each.role for each in plan.messages([])] == ["user"]
    assert plan.messages(["first"])[-1] == Message("assistant", ("A photo of",))


def test_the_image_column_is_read_by_default() -> None:
    """Without `prompt.turn_images` it is the manifest's column, or none for text alone."""
    prompt = SettingsPrompt(user="x")
    assert image_columns(MANIFEST, prompt) == ("image",)
    assert image_columns(SettingsManifest(path="m.csv", image_column=""), prompt) == ()


def test_the_columns_of_the_turns_are_read_once_each() -> None:
    """Columns come in the order of their first turn; empty entries are none; the image column is not needed."""
    prompt = SettingsPrompt(user=["1", "2", "3", "4"], turn_images=["left", "", ["right", "left"], ["top", ""]])
    assert image_columns(MANIFEST, prompt) == ("left", "right", "top")


def test_all_images_stand_in_the_first_turn_by_default() -> None:
    """Later turns have none of their own."""
    refs = [ImageRef("a"), ImageRef("b")]
    assert images_by_turn(SettingsPrompt(user="x"), refs) == [[0, 1]]
    assert images_by_turn(SettingsPrompt(user=["x", "y", "z"]), refs) == [[0, 1], [], []]


def test_each_turn_has_the_images_of_its_columns() -> None:
    """Lists in a column stay together, columns stand in the turn's order, and a column may serve two turns."""
    refs = [ImageRef("l1", column="left"), ImageRef("l2", column="left"), ImageRef("r", column="right")]
    prompt = SettingsPrompt(user=["1", "2", "3"], turn_images=["left", "", ["right", "left"]])
    assert images_by_turn(prompt, refs) == [[0, 1], [], [2, 0, 1]]


def test_a_row_without_an_image_for_a_turn_has_none_there() -> None:
    """A column that is empty in this row gives no image."""
    prompt = SettingsPrompt(user=["1", "2"], turn_images=["left", "right"])
    assert images_by_turn(prompt, [ImageRef("r", column="right")]) == [[], [0]]


@given(st.lists(st.tuples(st.text(min_size=1, max_size=3), st.integers(0, 3)), min_size=1, max_size=4), st.data())
@settings(deadline=None, max_examples=80)
def test_a_conversation_alternates_and_loses_nothing(turns: list[tuple[str, int]], data: st.DataObject) -> None:
    """In every conversation roles alternate, the user speaks first, and every text and image stands there once."""
    images = tuple(tuple(picture(f"{turn}-{at}") for at in range(count)) for turn, (_, count) in enumerate(turns))
    plan = TurnPlan(tuple(text for text, _ in turns), images)
    answered = data.draw(st.integers(0, len(turns) - 1))
    sent = plan.messages([f"reply {turn}" for turn in range(answered)])
    assert [each.role for each in sent] == (["user", "assistant"] * len(turns))[: 2 * answered + 1]
    shown = [part for each in sent for part in each.parts if isinstance(part, PreparedImage)]
    assert shown == [image for turn in images[: answered + 1] for image in turn]
    assert [each.parts[-1] for each in sent[::2]] == [text for text, _ in turns[: answered + 1]]


@pytest.mark.parametrize("count", [2, 3])
def test_labels_count_the_images(count: int) -> None:
    """Each label stands right before its image."""
    images = tuple(picture(str(at)) for at in range(count))
    parts = TurnPlan(("x",), (images,)).messages([])[0].parts
    for number, image in enumerate(images, 1):
        assert parts[parts.index(image) - 1] == f"Image {number}:"
