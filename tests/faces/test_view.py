"""`pipeline view` over its real socket: who is let in, what is served, and what is written."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.datasets import answered, caption_all, failed, snapshot, with_ledger, write_run
from support.jobs import CANARY
from support.pictures import save_quadrants
from support.viewing import Viewer, viewing

from pipeline.store.identity import RunIdentity
from pipeline.store.ledger import Ledger
from pipeline.store.read import read_results


@pytest.fixture(scope="module")
def viewer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    """A dataset of three answers and a failure, served; its pictures in the folder beside it."""
    folder = tmp_path_factory.mktemp("view")
    save_quadrants(folder / "root" / "a.jpg")
    (folder / "root" / "b.jpg").write_text("<script>alert(1)</script>")
    save_quadrants(folder / "secret.jpg")
    outcomes = [answered("a"), answered("b"), answered("c"), failed("d"), answered("../secret")]
    write_run(folder / "out", outcomes)
    with viewing(folder / "out", "--reviewer", "ada", "--root", str(folder / "root")) as served:
        yield served


def test_nothing_is_shown_without_the_token(viewer: Viewer) -> None:
    """Neither page nor data nor pictures, and a wrong token is none."""
    with httpx.Client(base_url=viewer.base) as stranger:
        for path in ("/", "/?token=wrong", "/state", "/items", "/picture?id=a&fingerprint=f1"):
            answer = stranger.get(path)
            assert answer.status_code == 403, path
            assert "caption of" not in answer.text
        assert stranger.post("/reviews", json={}).status_code == 403


def test_the_token_becomes_a_cookie_and_leaves_the_address(viewer: Viewer) -> None:
    """Scripts cannot read it, other sites cannot have it sent."""
    answer = httpx.get(viewer.address)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert f"pipeline_view_{viewer.base.rpartition(':')[2]}=" in cookie


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1:1", "127.0.0.1.evil.example:{port}"]
)
def test_another_name_gets_nothing(viewer: Viewer, host: str) -> None:
    """A foreign name that is made to lead here has no cookie's worth of rights, even with the cookie."""
    port = viewer.base.rpartition(":")[2]
    answer = viewer.client.get("/items", headers={"host": host.format(port=port)})
    assert answer.status_code == 421
    assert "caption of" not in answer.text


def test_every_answer_forbids_what_it_need_not_allow(viewer: Viewer) -> None:
    """The policy names the page's own scripts; nothing is cached, framed or sniffed."""
    page = viewer.client.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    for path in ("/", "/state", "/items", "/nowhere"):
        headers = viewer.client.get(path).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"


def test_a_review_needs_the_pages_own_token(viewer: Viewer) -> None:
    """What another site's form or script could send is refused, and nothing is written."""
    asked = {"id": "c", "fingerprint": "f1", "verdict": "accepted"}
    assert viewer.client.post("/reviews", json=asked).status_code == 403
    headers = {"x-review-token": "guessed"}
    assert viewer.client.post("/reviews", json=asked, headers=headers).status_code == 403
    page = viewer.client.get("/").text
    token = page.partition('data-review-token="')[2].partition('"')[0]
    foreign = {"x-review-token": token, "origin": "http://evil.example"}
    assert viewer.client.post("/reviews", json=asked, headers=foreign).status_code == 403
    assert viewer.items(verdict="accepted")["total"] == 0


def test_items_are_searched_and_paged(viewer: Viewer) -> None:
    """By words, status and pages."""
    assert viewer.items()["total"] == 5
    assert [row["id"] for row in viewer.items(words="caption OF b")["rows"]] == ["b"]
    assert [row["message"] for row in viewer.items(kind="image_missing")["rows"]] == ["d went wrong"]
    page = viewer.items(sort="id", descending="false", offset=2, most=2)
    assert ([row["id"] for row in page["rows"]], page["total"]) == (["b", "c"], 5)
    assert viewer.client.get("/items", params={"offset": "-1"}).status_code == 400
    assert viewer.client.get("/items", params={"most": "x"}).status_code == 400


def test_pictures_are_pictures_inside_the_root(viewer: Viewer) -> None:
    """A file that is none, one outside the root, and one that is not there are not served."""
    good = viewer.client.get("/picture", params={"id": "a", "fingerprint": "f1"})
    assert (good.status_code, good.headers["content-type"]) == (200, "image/jpeg")
    assert "sandbox" in good.headers["content-security-policy"]
    for item_id in ("b", "c", "d", "../secret", "nobody"):
        answer = viewer.client.get("/picture", params={"id": item_id, "fingerprint": "f1"})
        assert answer.status_code == 404, item_id
        assert "alert" not in answer.text


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        ({"item_id": "a", "verdict": "perhaps"}, 400, "perhaps"),
        ({"item_id": "a", "verdict": "edited"}, 400, "caption"),
        ({"item_id": "a", "verdict": "edited", "caption": "  "}, 400, "caption"),
        ({"item_id": "a", "verdict": "edited", "caption": "x" * 100_001}, 400, "100,001"),
        ({"item_id": "nobody", "verdict": "accepted"}, 404, "nobody"),
        ({"item_id": "d", "verdict": "accepted"}, 404, "d"),
        ({"item_id": "a", "verdict": "accepted", "reviewer": 7}, 400, "reviewer"),
        ({"item_id": "a", "verdict": "edited", "caption": "x" * 2_000_000}, 413, "bytes"),
    ],
)
def test_a_review_that_cannot_be_taken_says_why(viewer: Viewer, asked: dict[str, str], status: int, said: str) -> None:
    """And writes nothing."""
    answer = viewer.review(fingerprint="f1", **asked)
    assert answer.status_code == status
    assert said in answer.text
    assert viewer.items(verdict="open")["total"] == 4


def test_reviews_are_all_that_is_written(tmp_path: Path) -> None:
    """A decision is in the dataset when it is answered; everything else is as it was, byte for byte."""
    write_run(tmp_path, [answered("a"), answered("b"), answered("c")])
    before = snapshot(tmp_path)
    with viewing(tmp_path, "--reviewer", "ada", number=signal.SIGTERM) as viewer, viewing(tmp_path) as other:
        assert viewer.review("a", "edited", "f1", caption=" better ").json()["review"]["reviewer"] == "ada"
        assert viewer.review("b", "rejected", "f1", reviewer="grace").status_code == 200
        assert other.items(verdict="rejected")["rows"][0]["review"]["reviewer"] == "grace"
        assert viewer.review("b", "cleared", "f1").status_code == 200
        assert viewer.review("c", "rejected", "f1").status_code == 200
        assert viewer.items(verdict="open")["total"] == 1
        state = viewer.client.get("/state").json()
        assert state["reviewed"] == {"edited": 1, "rejected": 1}
        found = read_results(tmp_path, reviewed=True)
    assert sorted(found["caption"].to_pylist()) == ["better", "caption of b"]
    after = snapshot(tmp_path)
    assert {name: after.pop(name) for name in list(after) if name.startswith("reviews/")}
    assert after == before


def test_a_structured_answer_stays_structured(tmp_path: Path) -> None:
    """An edit that is no JSON is refused where there is a `data` column."""
    schema = json.dumps({"type": "object", "properties": {"subject": {"type": "string"}}})
    outcome = answered("a", caption='{"subject":"cat"}', data={"subject": "cat"})

    async def body(ledger: Ledger) -> None:
        await caption_all(ledger, [outcome])

    with_ledger(tmp_path, body, RunIdentity("run-1", "f1", data_schema=schema))
    with viewing(tmp_path) as viewer:
        assert "JSON" in viewer.review("a", "edited", "f1", caption="a dog").text
        assert viewer.review("a", "edited", "f1", caption='{"subject":"dog"}').status_code == 200
    assert read_results(tmp_path, reviewed=True)["data"].to_pylist() == [{"subject": "dog"}]


def test_the_key_is_nowhere(viewer: Viewer) -> None:
    """Neither in the page nor in what it says."""
    assert CANARY not in viewer.client.get("/").text + viewer.client.get("/state").text
