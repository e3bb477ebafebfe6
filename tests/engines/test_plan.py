"""What a configuration decides about a run."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.configs import config_with, written
from support.manifests import write

from pipeline.config import load_config
from pipeline.engines.plan import RunPlan, plan_run
from pipeline.errors import ConfigError
from pipeline.manifest.producer import open_manifest

CANARY = "sk-ant-canary-0123456789abcdef"
KEY = {"ANTHROPIC_API_KEY": CANARY}


def plan(folder: Path, *overrides: str, environ: dict[str, str] | None = None) -> RunPlan:
    """The plan of the least configuration with some keys changed."""
    return plan_run(config_with(folder, *overrides), KEY if environ is None else environ)


def test_the_embedded_endpoint_needs_no_key_and_never_sees_it(tmp_path: Path) -> None:
    """The demo runs without an account, and a real key stays at home."""
    for environ in ({}, KEY):
        embedded = plan(tmp_path, "api.base_url=embedded", environ=environ)
        assert embedded.is_embedded
        assert CANARY not in embedded.endpoint("http://127.0.0.1:1").headers.values()
    assert not plan(tmp_path).is_embedded


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [("x-api-key", "x-api-key", CANARY), ("bearer", "authorization", f"Bearer {CANARY}")],
)
def test_the_key_goes_into_the_header_of_its_kind(tmp_path: Path, auth: str, header: str, value: str) -> None:
    """One header carries it, and no other."""
    headers = plan(tmp_path, f"api.auth={auth}").endpoint("https://example.com").headers
    assert {name: text for name, text in headers.items() if CANARY in text} == {header: value}


def test_a_server_without_keys_is_sent_none(tmp_path: Path) -> None:
    """Not even one that happens to be set."""
    headers = plan(tmp_path, "api.auth=none").endpoint("http://127.0.0.1:8000").headers
    assert not {"x-api-key", "authorization"} & headers.keys()
    without = plan(tmp_path, "api.auth=none", environ={}).endpoint("http://127.0.0.1:8000").headers
    assert without == headers


def test_the_users_headers_stand_in_the_place_of_ours_and_never_beside_them(tmp_path: Path) -> None:
    """Names of headers know no case: two of one name would be sent as two."""
    own = (
        'api.headers={"Anthropic-Version" = "2099-01-01", "X-Api-Key" = "other", "X-Team" = "a", "Content-Type" = "b"}'
    )
    headers = plan(tmp_path, own).endpoint("https://example.com").headers
    assert headers == {
        "anthropic-version": "2099-01-01",
        "x-team": "a",
        "content-type": "application/json",
        "x-api-key": CANARY,
    }


def test_the_endpoint_has_its_url_timeout_and_version(tmp_path: Path) -> None:
    """Without a slash at its end, whatever was given."""
    endpoint = plan(tmp_path, "api.timeout_seconds=12.5").endpoint("https://example.com/proxy/")
    assert (endpoint.base_url, endpoint.timeout_s) == ("https://example.com/proxy", 12.5)
    assert endpoint.headers["anthropic-version"] == "2023-06-01"


def test_secrets_are_in_no_repr(tmp_path: Path) -> None:
    """Neither the key nor the user's own headers, wherever a plan or an endpoint is printed."""
    made = plan(tmp_path, 'api.headers={"x-token" = "sk-own-secret"}')
    for text in (repr(made), str(made), f"{made}", repr(made.endpoint("https://me:sk-own-secret@example.com"))):
        assert CANARY not in text
        assert "sk-own-secret" not in text


@pytest.mark.parametrize(
    ("model", "edge", "tokens", "bounds"),
    [
        ("claude-haiku-4-5", 1568, 1568, (1568, 1568)),
        ("claude-haiku-4-5", 3000, 9999, (1568, 1568)),
        ("claude-haiku-4-5", 800, 500, (800, 500)),
        ("claude-haiku-4-5", '"model"', '"model"', (1568, 1568)),
        ("claude-sonnet-5-5", 1568, 1568, (1568, 1568)),
        ("claude-sonnet-5-5", '"model"', '"model"', (2576, 4784)),
        ("claude-sonnet-5-5", 9000, '"model"', (2576, 4784)),
        ("my-own-model", 9000, 9999, (9000, 9999)),
        ("my-own-model", '"model"', '"model"', (1568, 1568)),
    ],
)
def test_images_are_shrunk_to_what_was_asked_for_and_no_more_than_a_known_model_sees(
    tmp_path: Path, model: str, edge: Any, tokens: Any, bounds: tuple[int, int]
) -> None:
    """More would be paid in bytes for nothing; what an unknown model sees is its user's to say."""
    made = plan(tmp_path, f"api.model={model}", f"images.max_edge={edge}", f"images.max_tokens={tokens}").images
    assert (made.bounds.max_edge, made.bounds.max_tokens) == bounds


def test_image_output_and_manifest_settings_arrive(tmp_path: Path) -> None:
    """Each key ends where it works."""
    made = plan(
        tmp_path,
        "images.quality=70",
        "images.max_bytes=1000",
        "images.max_pixels=2000",
        "output.thumbnail_edge=64",
        "output.rows_per_file=7",
        "output.flush_seconds=3.5",
        "output.compression=snappy",
        "manifest.format=csv",
        "manifest.id_column=name",
        "manifest.list_separator=;",
        'prompt.user=["a", "b"]',
        'prompt.turn_images=["front", ["back", "front"]]',
    )
    images, dataset, manifest = made.images, made.dataset, made.manifest
    assert (images.quality, images.max_bytes, images.max_pixels, images.thumbnail_edge) == (70, 1000, 2000, 64)
    assert (dataset.output, dataset.rows_per_file, dataset.flush_seconds) == (Path("out"), 7, 3.5)
    assert dataset.compression == "snappy"
    assert (manifest.path, manifest.format, manifest.id_column) == ("photos.csv", "csv", "name")
    assert (manifest.list_separator, manifest.image_columns) == (";", ("front", "back"))


def test_a_truncated_answer_may_be_asked_again_with_four_times_the_tokens(tmp_path: Path) -> None:
    """But never with more than the model can answer."""
    made = plan(tmp_path, "api.max_tokens=300").writers
    assert (made.max_tokens, made.largest_tokens) == (300, 1200)
    most = plan(tmp_path, "api.max_tokens=300", 'models."claude-haiku-4-5".max_output_tokens=500').writers
    assert (most.max_tokens, most.largest_tokens) == (300, 500)
    assert b'"max_tokens": 500' in most.larger.body([])
    assert b'"max_tokens": 300' in most.usual.body([])


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    """One run of `check` shows all that has to be mended."""
    wrong = ("api.model=claude-sonnet-5-5", "api.temperature=0.5", "prompt.prefill=A", "api.max_tokens=9000000")
    with pytest.raises(ConfigError) as refused:
        plan(tmp_path, *wrong, environ={})
    first, *others = str(refused.value).splitlines()
    assert first == "4 problems"
    for name in ("api.temperature", "prompt.prefill", "api.max_tokens", "ANTHROPIC_API_KEY"):
        assert any(name in line for line in others)
    with pytest.raises(ConfigError, match=r"^api\.api_key_env: "):
        plan(tmp_path, environ={})


def test_remarks_tell_what_works_and_should_be_known(tmp_path: Path) -> None:
    """A model near its retirement by the date of today, which is an argument."""
    config = config_with(tmp_path, "api.model=my-model")
    assert any("my-model" in line for line in plan_run(config, KEY).remarks)
    known = config_with(tmp_path)
    far = plan_run(known, KEY, now=datetime(2099, 1, 1, tzinfo=UTC)).remarks
    near = plan_run(known, KEY, now=datetime(2025, 12, 1, tzinfo=UTC)).remarks
    assert len(near) == 0
    assert all("claude-haiku-4-5" in line for line in far)


def test_images_are_read_from_the_manifests_folder_or_the_root(tmp_path: Path) -> None:
    """`manifest.root` wins; further roots are further roots."""
    write(tmp_path / "photos.csv", "id,image\n1,a.jpg\n")
    path = f"manifest.path={tmp_path / 'photos.csv'}"
    for root, overrides in (
        (tmp_path, ()),
        (Path("/elsewhere"), ("manifest.root=/elsewhere", 'manifest.allow_roots=["/more"]')),
    ):
        made = plan(tmp_path, path, "images.max_bytes=99", "images.allow_private_hosts=true", *overrides)
        with open_manifest(made.manifest) as manifest:
            sources = made.sources(manifest)
        assert sources.root == root
        assert sources.allow_roots == ((Path("/more"),) if overrides else ())
        assert (sources.fetch.max_bytes, sources.fetch.allow_private_hosts) == (99, True)


def test_a_root_in_a_bucket_is_a_folder_there(tmp_path: Path) -> None:
    """With or without `/` at its end; what cannot be a bucket is refused by the key's name."""
    write(tmp_path / "photos.csv", "id,image\n1,a.jpg\n")
    path = f"manifest.path={tmp_path / 'photos.csv'}"
    for root in ("s3://bucket/photos", "S3://bucket/photos/"):
        made = plan(tmp_path, path, f"manifest.root={root}")
        with open_manifest(made.manifest) as manifest:
            assert made.sources(manifest).root_text == "s3://bucket/photos/"
    made = plan(tmp_path, path, "manifest.root=s3://user:secret@host/x")
    with open_manifest(made.manifest) as manifest, pytest.raises(ConfigError, match=r"manifest\.root: found") as caught:
        made.sources(manifest)
    assert "secret" not in str(caught.value)


def test_templates_are_checked_against_columns_that_are_all_known(tmp_path: Path) -> None:
    """A csv has no other columns than those of its header; later rows of a long jsonl file may bring more."""
    config = written(tmp_path).read_text().replace("Describe this image.", "{{ titel }}")
    write(tmp_path / "photos.csv", "id,image,title\n1,a.jpg,A\n")
    write(tmp_path / "photos.jsonl", '{"id": "1", "image": "a.jpg"}\n' * 3000)
    for name, complete in (("photos.csv", True), ("photos.jsonl", False)):
        made = plan_run(load_config(written(tmp_path, config), [f"manifest.path={tmp_path / name}"], {}), KEY)
        with open_manifest(made.manifest) as manifest:
            assert manifest.columns_complete == complete
            if complete:
                with pytest.raises(ConfigError, match="titel"):
                    made.templates(manifest)
            else:
                made.templates(manifest)
