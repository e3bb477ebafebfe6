"""`/v1/files`: what is taken, told, forgotten and refused, in both dialects, and images that are named by a file."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from support.asking import HEADERS, ask, message_body, picture

from pipeline.standin.forms import Part
from pipeline.standin.problems import Problem
from pipeline.standin.server import StandinServer
from pipeline.standin.shelf import Shelf, StoredFile

OLD = {**HEADERS, "anthropic-beta": "other, files-api-2025-04-14"}
NOW = 1_790_000_000.0


def call(server: StandinServer, method: str, path: str = "", **options: Any) -> httpx.Response:
    """One request to the Files API."""
    options.setdefault("headers", HEADERS)
    return httpx.request(method, f"{server.url}/v1/files{path}", verify=False, timeout=20, **options)


def upload(server: StandinServer, raw: bytes | None = None, kind: str = "image/png", **options: Any) -> Any:
    """Uploads a picture; the answer's JSON."""
    files = {"file": ("a.png", raw or picture(), kind)}
    answer = call(server, "POST", files=files, **options)
    assert answer.status_code == 200, answer.text
    return answer.json()


def block(file_id: str) -> dict[str, Any]:
    """An image block that names a file."""
    return {"type": "image", "source": {"type": "file", "file_id": file_id}}


def test_an_upload_is_told_as_the_api_tells_it(start_standin: Any) -> None:
    """Name, type and size as they came; `expires_at` where it was asked for; the older dialect has a scope instead."""
    server = start_standin()
    raw = picture()
    told = upload(server, raw, data={"expires_in_seconds": "3600"})
    assert told["id"].startswith("file_")
    assert (told["type"], told["filename"], told["mime_type"]) == ("file", "a.png", "image/png")
    assert (told["size_bytes"], told["downloadable"]) == (len(raw), False)
    created, ends = (datetime.fromisoformat(told[name]) for name in ("created_at", "expires_at"))
    assert ends - created == timedelta(hours=1)
    assert upload(server)["expires_at"] is None
    old = upload(server, headers=OLD)
    assert "expires_at" not in old
    assert old["scope"] is None


def test_a_file_can_be_looked_at_deleted_and_not_downloaded(start_standin: Any) -> None:
    """What was uploaded is not given back; what was deleted is not found."""
    server = start_standin()
    told = upload(server)
    path = f"/{told['id']}"
    assert call(server, "GET", path).json() == told
    refused = call(server, "GET", f"{path}/content")
    assert (refused.status_code, refused.json()["error"]["details"]) == (400, {"error_code": "file_not_downloadable"})
    assert call(server, "DELETE", path).json() == {"id": told["id"], "type": "file_deleted"}
    for answer in (call(server, "GET", path), call(server, "DELETE", path), call(server, "GET", f"{path}/content")):
        assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found_error")
        assert answer.headers["request-id"] == answer.json()["request_id"]


def test_lists_page_newest_first_in_both_dialects(start_standin: Any) -> None:
    """Cursors in the new one, ids before and after in the old; `ids[]` drops what is not there."""
    server = start_standin()
    ids = [upload(server)["id"] for _ in range(5)][::-1]
    first = call(server, "GET", "?limit=2").json()
    second = call(server, "GET", f"?limit=3&page={first['next_page']}").json()
    assert [each["id"] for each in first["data"] + second["data"]] == ids
    assert second["next_page"] is None
    old = call(server, "GET", "?limit=2", headers=OLD).json()
    assert (old["has_more"], old["first_id"], old["last_id"]) == (True, ids[0], ids[1])
    after = call(server, "GET", f"?after_id={ids[2]}", headers=OLD).json()
    assert ([each["id"] for each in after["data"]], after["has_more"]) == (ids[3:], False)
    before = call(server, "GET", f"?before_id={ids[2]}&limit=1", headers=OLD).json()
    assert ([each["id"] for each in before["data"]], before["has_more"]) == ([ids[1]], True)
    some = call(server, "GET", f"?ids[]={ids[3]}&ids[]=file_none").json()
    assert [each["id"] for each in some["data"]] == [ids[3]]
    assert call(start_standin(), "GET", headers=OLD).json()["first_id"] is None


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("?limit=0", HEADERS),
        ("?limit=1001", HEADERS),
        ("?after_id=x", HEADERS),
        ("?page=page_x", HEADERS),
        ("?page=x", OLD),
        ("?ids[]=a&limit=1", HEADERS),
        ("?" + "&".join(f"ids[]={n}" for n in range(101)), HEADERS),
    ],
)
def test_a_wrong_list_is_a_400(start_standin: Any, query: str, headers: dict[str, str]) -> None:
    """Bounds, unknown parameters and the other dialect's."""
    assert call(start_standin(), "GET", query, headers=headers).status_code == 400


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"files": {"other": ("a.png", b"x", "image/png")}}, "other"),
        ({"files": {"file": ("a?.png", b"x", "image/png")}}, "filename"),
        ({"files": {"file": ("a" * 256, b"x", "image/png")}}, "filename"),
        ({"files": {"file": ("a.png", b"x")}, "data": {"expires_in_seconds": "60"}}, "expires_in_seconds"),
        ({"files": {"file": ("a.png", b"x")}, "data": {"expires_in_seconds": "soon"}}, "expires_in_seconds"),
        ({"json": {}}, "multipart/form-data"),
        ({"content": b"torn", "headers": {**HEADERS, "content-type": "multipart/form-data; boundary=x"}}, "form"),
    ],
)
def test_a_wrong_upload_is_a_400_that_names_the_field(start_standin: Any, options: dict[str, Any], field: str) -> None:
    """And nothing is kept of it."""
    server = start_standin()
    answer = call(server, "POST", **options)
    assert (answer.status_code, field in answer.json()["error"]["message"]) == (400, True)
    assert server.service.files.uploads == 0


def test_key_and_version_are_needed(start_standin: Any) -> None:
    """As everywhere."""
    server = start_standin(keys=frozenset({"right"}))
    assert call(server, "GET").status_code == 401
    assert call(server, "GET", headers={"x-api-key": "right"}).status_code == 400


def test_an_expired_file_is_gone(start_standin: Any) -> None:
    """By a clock that is an argument: found until then, a 404 with its own code after."""
    moment = [NOW]
    shelf = Shelf(lambda: moment[0])
    kept = shelf.add([Part("file", b"x", "a.png", "image/png"), Part("expires_in_seconds", b"3600")])
    moment[0] += 3599
    assert shelf.get(kept.id) == kept
    moment[0] += 1
    with pytest.raises(Problem) as gone:
        shelf.image(kept.id)
    assert (gone.value.status, gone.value.details) == (404, {"error_code": "file_expired"})


def test_a_picture_in_a_file_is_seen_as_any_other(start_standin: Any) -> None:
    """The same hash, size and tokens as the same bytes in the request; counted too."""
    server = start_standin()
    raw = picture(300, 200)
    file_id = upload(server, raw)["id"]
    by_file = ask(server, message_body(block(file_id), "Describe it.")).json()
    assert "300x200" in by_file["content"][0]["text"]
    body = message_body(block(file_id), "Describe it.", max_tokens=None)
    counted = httpx.post(f"{server.url}/v1/messages/count_tokens", json=body, headers=HEADERS, verify=False).json()
    assert counted["input_tokens"] == by_file["usage"]["input_tokens"]


def test_what_no_message_may_name_is_refused(start_standin: Any) -> None:
    """A file that is not there is a 404; one that is no image, or too large for one, a 400."""
    server = start_standin(max_base64_bytes=400)
    text, large = upload(server, b"words", "text/plain")["id"], upload(server, b"\x89PNG\r\n\x1a\n" + b"x" * 400)["id"]
    answers = [ask(server, message_body(block(name), "x")) for name in ("file_none", text, large)]
    assert [answer.status_code for answer in answers] == [404, 400, 400]
    assert "not an image" in answers[1].json()["error"]["message"]
    assert "exceeds" in answers[2].json()["error"]["message"]


def test_times_are_told_in_utc() -> None:
    """RFC 3339, as the SDK reads it."""
    told = StoredFile("file_1", "a", "image/png", b"", NOW).metadata(old=False)
    assert datetime.fromisoformat(told["created_at"]) == datetime.fromtimestamp(NOW, UTC)
