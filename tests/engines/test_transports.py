"""`images.transport`: how pictures reach the service, and what is done when it does not take them that way."""

import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.asking import HEADERS
from support.certificates import write_certificate
from support.configs import config_with
from support.jobs import Job, make_job
from support.running import KEY, by_id, run
from support.standins import answers, billed
from support.web import Detour, Web, reply, resolving

from pipeline.engines.carrying import Carrier
from pipeline.engines.plan import plan_run
from pipeline.errors import AnswerError
from pipeline.images.fetch import Fetcher, FetchSettings
from pipeline.images.sources import ImageSource, SourceSettings
from pipeline.prompts.templates import Templates
from pipeline.records import ImageLink, ImageRef, Item
from pipeline.standin.server import StandinServer
from pipeline.store.read import read_results

pytestmark = pytest.mark.anyio
PUBLIC = "93.184.216.34"


def lose_files(server: StandinServer) -> None:
    """Deletes everything that was uploaded, behind the program's back."""
    with httpx.Client(base_url=server.url, headers=HEADERS, verify=False) as client:
        for each in client.get("/v1/files?limit=1000").json()["data"]:
            assert client.delete(f"/v1/files/{each['id']}").status_code == 200


def file_job(folder: Path, url: str, images: int = 4, **settings: Any) -> Job:
    """A job that uploads its pictures."""
    return make_job(folder, url, images, settings={"images": {"transport": "file"}, **settings})


# Files


@pytest.mark.parametrize("beta", ["", "files-api-2025-04-14"])
async def test_pictures_are_uploaded_once_and_seen_whole(tmp_path: Path, start_standin: Any, beta: str) -> None:
    """Two turns about one picture are one upload; the caption is of its own picture, in both dialects of the API."""
    server = start_standin()
    headers = {"api": {"base_url": server.url, "model": "claude-haiku-4-5", "max_tokens": 300}}
    job = file_job(tmp_path, server.url, prompt={"user": ["Describe {{ title }}.", "Shorter."]}, **headers)
    more = [f"api.headers={{'anthropic-beta'='{beta}'}}"] if beta else []
    summary = await run(job, *more)
    assert (summary.exit_code, summary.requests["sent"]) == (0, 8)
    assert server.service.files.uploads == 4
    for row in read_results(job.output).to_pylist():
        assert row["images"][0]["sent_sha256"][:12] in row["caption"]
        assert row["images"][0]["warnings"] == []
    bill = billed(server.options.log)
    assert summary.cost_usd == pytest.approx(sum(line["cost_usd"] for line in bill), abs=1e-12)


async def test_ids_are_remembered_from_run_to_run(tmp_path: Path, start_standin: Any) -> None:
    """Another prompt about the same pictures uploads nothing, and neither does the same picture under two names."""
    server = start_standin()
    job = file_job(tmp_path, server.url)
    job.add_rows(["copy", "item-000.jpg", "Another title"])
    await run(job)
    assert server.service.files.uploads == 4
    summary = await run(job, "prompt.user=What colours has {{ title }}?", accept=True)
    assert (summary.exit_code, summary.items["succeeded"], server.service.files.uploads) == (0, 5, 4)


async def test_files_that_the_service_lost_are_uploaded_again(tmp_path: Path, start_standin: Any) -> None:
    """A 404 for a file costs an attempt, and neither the item nor the run."""
    server = start_standin()
    job = file_job(tmp_path, server.url)
    await run(job)
    lose_files(server)
    summary = await run(job, "prompt.user=Again {{ title }}.", accept=True)
    assert (summary.exit_code, summary.items["succeeded"], server.service.files.uploads) == (0, 4, 8)
    rows = [row for row in read_results(job.output, requests=True).to_pylist() if row["http_status"] == 404]
    assert len(rows) == 4
    assert all(row["cost_usd"] == 0 for row in rows)


async def test_a_404_that_stays_is_the_model_s_and_stops_the_run(tmp_path: Path, start_standin: Any) -> None:
    """After one renewal the answer means what it says everywhere else."""
    server = start_standin("404")
    summary = await run(file_job(tmp_path, server.url, images=1))
    assert (summary.exit_code, len(answers(server.options.log))) == (3, 2)


async def test_a_server_without_files_is_sent_the_pictures(tmp_path: Path, start_standin: Any) -> None:
    """One upload is refused, no other is tried, and every row says how its picture travelled."""
    web_answers = {"/v1/files": reply(b"{}", "404 Not Found")}
    with Web(web_answers) as web:  # it has no messages either: the run ends there, after its uploads
        job = file_job(tmp_path, web.url, images=3)
        web.answers["/v1/messages"] = [reply(b'{"error": {"type": "invalid_request_error"}}', "400 Bad Request")]
        summary = await run(job, "limits.concurrency=1")
        uploads = [head for head in web.requests if b"/v1/files" in head]
    assert (summary.failures_by_type, len(uploads)) == ({"invalid_request_error": 3}, 1)
    rows = by_id(read_results(job.output, failures=True))
    assert all(row["images"][0]["warnings"] == ["file_refused"] for row in rows.values())


async def test_a_file_that_the_service_does_not_take_is_sent_whole(tmp_path: Path, start_standin: Any) -> None:
    """A 400 to a request that names files is answered by one without, with a warning on its picture."""
    server = start_standin("400:at=1")
    job = file_job(tmp_path, server.url, images=1)
    summary = await run(job)
    assert (summary.exit_code, summary.requests["sent"]) == (0, 2)
    [row] = read_results(job.output).to_pylist()
    assert row["images"][0]["warnings"] == ["file_refused"]
    assert row["attempts"] == 2


async def test_a_refused_key_stops_the_run_at_the_upload(tmp_path: Path, start_standin: Any) -> None:
    """No item is charged with what no item can mend."""
    server = start_standin(keys=frozenset({"another"}))
    summary = await run(file_job(tmp_path, server.url, images=3))
    assert (summary.exit_code, summary.items["failed"], summary.requests["sent"]) == (3, 0, 0)


async def test_a_file_that_may_not_travel_otherwise_fails_its_item(tmp_path: Path, start_standin: Any) -> None:
    """With `images.transport_fallback = false` a server without a Files API gets no picture in a request."""
    server = start_standin()
    job = file_job(tmp_path, server.url, images=2)
    (tmp_path / "item-001.jpg").unlink()
    summary = await run(job, f"api.base_url={server.url}/elsewhere", "images.transport_fallback=false")
    assert summary.requests["sent"] == 0
    assert summary.failures_by_type == {"invalid_request_error": 1, "image_missing": 1}
    failed = read_results(job.output, failures=True).to_pylist()
    assert any("refused as a file" in row["error_message"] for row in failed)


# URLs


async def test_public_urls_are_handed_over(tmp_path: Path, start_standin: Any) -> None:
    """Nothing is fetched, what was sent is not known, and the query stays out of the dataset."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=1, settings={"images": {"transport": "url"}})
    job.add_rows(["far", "https://images.example.com/a.jpg?signature=secret-canary", "Far"])
    summary = await run(job)
    assert summary.exit_code == 0
    rows = by_id(read_results(job.output))
    [image] = rows["far"]["images"]
    assert image["source"].startswith("https://images.example.com/a.jpg")
    assert {name for name, value in image.items() if value is not None} == {"source", "warnings"}
    assert "behind a URL" in rows["far"]["caption"]
    assert rows["item-000"]["images"][0]["sent_width"] == 240
    assert not any(b"secret-canary" in path.read_bytes() for path in job.output.rglob("*") if path.is_file())


async def test_what_cannot_be_handed_over_is_sent_whole(tmp_path: Path, start_standin: Any) -> None:
    """Plain http and private hosts: fetched by the program's own rules, which refuse them, and never by the service."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=0, settings={"images": {"transport": "url"}})
    with Web({"/a.jpg": reply(b"x")}) as web:
        job.add_rows(["http", f"{web.url}/a.jpg", "x"], ["private", "https://10.0.0.1/a.jpg", "x"])
        summary = await run(job)
        assert web.connections == 0
    assert summary.failures_by_type == {"image_refused": 2}
    assert answers(server.options.log) == []


async def test_two_urls_are_two_questions_and_one_url_is_one(tmp_path: Path, start_standin: Any) -> None:
    """Without bytes to compare, the address tells whether an answer may be reused."""
    server = start_standin()
    job = make_job(
        tmp_path, server.url, images=0, settings={"images": {"transport": "url"}, "prompt": {"user": "Describe."}}
    )
    for item_id, name in (("a", "1"), ("b", "2"), ("c", "1")):
        job.add_rows([item_id, f"https://images.example.com/{name}.jpg", "x"])
    summary = await run(job)
    assert (summary.items["succeeded"], summary.items["reused"]) == (2, 1)


async def test_a_url_s_worst_price_is_reserved(tmp_path: Path, start_standin: Any) -> None:
    """Its size is not known, so the budget holds the most that the model can see, and is kept."""
    server = start_standin()
    job = make_job(tmp_path, server.url, images=0, settings={"images": {"transport": "url"}})
    for number in range(10):
        job.add_rows([f"far-{number}", f"https://images.example.com/{number}.jpg", f"{number}"])
    summary = await run(job, "limits.budget_usd=0.012")
    assert summary.exit_code == 4
    assert 0 < sum(line["cost_usd"] for line in billed(server.options.log)) <= 0.012


async def test_a_url_that_the_service_refuses_is_fetched_and_sent(tmp_path: Path) -> None:
    """The item comes back with its picture, prepared as any other, and says why; it is not tried a second time."""
    picture = make_job(tmp_path / "job", "http://127.0.0.1:9", images=1).folder / "item-000.jpg"
    certificate, key = write_certificate(tmp_path, "picture.example.com")
    trusting = ssl.create_default_context(cafile=certificate)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    plan = plan_run(config_with(tmp_path, "images.transport=url"), KEY)
    hosts = resolving(picture_example_com=PUBLIC)
    with Web({"/a.jpg": reply(picture.read_bytes())}, tls) as web:
        fetcher = Fetcher(FetchSettings(max_bytes=1_000_000), hosts, trusting, Detour({PUBLIC: web.port}))
        async with ImageSource(SourceSettings(tmp_path), fetcher) as source, plan.decoders(1) as decoders:
            preparer = plan.preparer(source, Templates(["Describe."]), decoders)
            item = Item("one", (ImageRef("https://picture.example.com/a.jpg"),))
            ready = await preparer.prepare(b"key", item)
            assert ready.images[0].link == ImageLink("url", "https://picture.example.com/a.jpg")
            assert web.connections == 0
            refusal, tried = AnswerError("invalid_request_error", "cannot be fetched", http_status=400), set[str]()
            whole = await Carrier(preparer).mended(ready, refusal, tried)
            assert whole is not None
            assert whole.images[0].link is None
            assert whole.images[0].record.warnings == ("url_refused",)
            assert whole.plan.images[0][0].body == picture.read_bytes()
            assert await Carrier(preparer).mended(whole, refusal, tried) is None
