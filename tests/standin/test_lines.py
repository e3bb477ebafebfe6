"""The log's lines against the answers that they tell of."""

from collections.abc import Callable
from hashlib import sha256

from support.asking import HEADERS, ask, image_block, message_body, picture
from support.standins import answers

from pipeline.standin.server import StandinServer

StartStandin = Callable[..., StandinServer]


def test_a_line_says_everything_of_an_answer(start_standin: StartStandin) -> None:
    """Ids, tokens, price, images, caption and question are those of the answer."""
    server = start_standin()
    raw = picture(90, 60)
    body = message_body(image_block(raw), "What is it?", system="Be brief.")
    message = ask(server, body)
    [line] = answers(server.options.log)
    said = message.json()
    assert line["request_id"] == message.headers["request-id"]
    assert (line["message_id"], line["model"]) == (said["id"], "claude-sonnet-4-5")
    names = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    assert [line[name] for name in names] == [said["usage"][name] for name in names]
    assert line["cost_usd"] == (3000 * line["input_tokens"] + 15_000 * line["output_tokens"]) / 1e9
    assert (line["images"], line["sizes"]) == ([sha256(raw).hexdigest()], [[90, 60]])
    assert (line["caption"], line["text"]) == (said["content"][0]["text"], "What is it?")
    assert (line["status"], line["billed"], line["turns"], line["fault"]) == (200, True, 1, None)


def test_a_refusal_s_line_is_free_and_says_why(start_standin: StartStandin) -> None:
    """What was not answered is not billed."""
    server = start_standin()
    ask(server, message_body(model="claude-2"))
    [line] = answers(server.options.log)
    assert (line["status"], line["error_type"], line["billed"], line["cost_usd"]) == (
        404,
        "not_found_error",
        False,
        0.0,
    )


def test_keys_are_told_apart_and_never_written(start_standin: StartStandin) -> None:
    """The log says which key was used without holding it."""
    server = start_standin()
    for key in ("canary-one", "canary-one", "canary-two"):
        ask(server, headers={**HEADERS, "x-api-key": key})
    first, second, third = [line["key_sha256"] for line in answers(server.options.log)]
    assert first == second != third
    assert "canary" not in server.options.log.read_text()


def test_a_line_is_on_disk_before_its_answer_leaves(start_standin: StartStandin) -> None:
    """Whoever has an answer finds it in the log, a delivered line or not."""
    server = start_standin()
    for count in range(1, 6):
        identity = ask(server).headers["request-id"]
        assert [line["request_id"] for line in answers(server.options.log)][-1] == identity
        assert len(answers(server.options.log)) == count
