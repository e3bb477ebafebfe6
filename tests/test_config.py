"""Configuration: where values come from, which win, and what every error says."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.configs import LEAST, config_with, written

from pipeline.config import api_keys, effective, load_config, prompt_text, unbuilt
from pipeline.errors import ConfigError


def problem(folder: Path, *overrides: str, text: str = LEAST, environ: dict[str, str] | None = None) -> str:
    """The message that loading ends with."""
    with pytest.raises(ConfigError) as caught:
        load_config(written(folder, text), overrides, environ or {})
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_set_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    """Each layer replaces what the one below says, key by key; the last of two `--set` wins."""
    environ = {"PIPELINE__API__MODEL": "env", "PIPELINE__API__MAX_TOKENS": "7", "UNRELATED": "x"}
    config = config_with(tmp_path, "api.model=first", "api.model=last", environ=environ)
    assert (config.api.model, config.api.max_tokens) == ("last", 7)
    assert config.prompt.user == "Describe this image."


def test_an_environment_value_under_a_winning_set_has_no_say(tmp_path: Path) -> None:
    """A value that only fits as text does not bring back the one it was overruled by."""
    config = config_with(tmp_path, "api.model=8", environ={"PIPELINE__API__MODEL": "7"})
    assert config.api.model == "8"


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("api.model=7", "api", "model", "7"),
        ("api.model=true", "api", "model", "true"),
        ("api.model=1_000", "api", "model", "1_000"),
        ("api.model=[x]", "api", "model", "[x]"),
        ("api.version=2026-10-21", "api", "version", "2026-10-21"),
        ("output.path=2024", "output", "path", "2024"),
        ("api.max_tokens = 400", "api", "max_tokens", 400),
        ("api.temperature=1", "api", "temperature", 1.0),
        ("api.stop_sequences=['a', \"b\"]", "api", "stop_sequences", ["a", "b"]),
        ("api.thinking={type = 'disabled'}", "api", "thinking", {"type": "disabled"}),
        ("api.headers.anthropic-beta=a=b", "api", "headers", {"anthropic-beta": "a=b"}),
        ("prompt.user=7", "prompt", "user", "7"),
        ('prompt.user=Say {{ title }}, "now" — ça va? 😀', "prompt", "user", 'Say {{ title }}, "now" — ça va? 😀'),
        ('prompt.user="a \\"b\\" \\u00e9"', "prompt", "user", 'a "b" é'),
        ('prompt.user=["one",\n "two"]', "prompt", "user", ["one", "two"]),
        ("prompt.user=one\ntwo", "prompt", "user", "one\ntwo"),
        ('prompt.user="one"\n[api]', "prompt", "user", '"one"\n[api]'),
        ("prompt.prefill=", "prompt", "prefill", ""),
        ("manifest.image_column=", "manifest", "image_column", ""),
        ("manifest.list_separator= ", "manifest", "list_separator", " "),
        ("limits.max_failures=1%", "limits", "max_failures", "1%"),
        ("api.deadline=3600", "api", "deadline", "3600"),
        ('prompt.schema={type = "object"}', "prompt", "json_schema", {"type": "object"}),
        ('models."llama3.2".input=0.5', None, "models", {"llama3.2": {"input": 0.5}}),
    ],
)
def test_a_value_is_toml_or_a_bare_string(
    tmp_path: Path, override: str, section: str | None, key: str, value: object
) -> None:
    """`--set` takes TOML, and bare text wherever a text is wanted, even where TOML would see a number in it."""
    config = config_with(tmp_path, override)
    found = getattr(getattr(config, section) if section else config, key)
    assert found == value
    assert type(found) is type(value)


def test_the_environment_takes_the_same_values(tmp_path: Path) -> None:
    """A variable's text is read as `--set` reads it; its key is written in capitals, nested ones too."""
    environ = {
        "PIPELINE__PROMPT__USER": "7",
        "PIPELINE__OUTPUT__REUSE": "false",
        "PIPELINE__API__HEADERS__X-TEAM": "captions",
        "PIPELINE__PROMPT__PREFILL": "",
    }
    config = config_with(tmp_path, environ=environ)
    assert config.prompt.user == "7"
    assert config.output.reuse is False
    assert config.api.headers == {"x-team": "captions"}
    assert config.prompt.prefill == ""


@pytest.mark.parametrize("name", ["PIPELINE__API", "PIPELINE____MODEL", "PIPELINE__", "PIPELINE__API__"])
def test_a_variable_that_names_no_key_is_an_error(tmp_path: Path, name: str) -> None:
    """A misspelt variable is not passed over in silence."""
    message = problem(tmp_path, environ={name: "x"})
    assert name in message
    assert "PIPELINE__SECTION__KEY" in message


@pytest.mark.parametrize(
    "text", ["api.model", "model=x", "=x", "api.=x", ".model=x", "api..model=x", "a b.c=1", "[a]\nb=1"]
)
def test_a_set_that_names_no_key_is_an_error(tmp_path: Path, text: str) -> None:
    """A malformed `--set` shows how it is written."""
    assert "SECTION.KEY=VALUE" in problem(tmp_path, text)


def test_a_section_cannot_be_a_value(tmp_path: Path) -> None:
    """`--set` cannot reach below a key that is no table, and says which it is."""
    assert "api.model is not a table" in problem(tmp_path, "api.model.name=x")


def test_a_value_that_is_not_utf_8_is_an_error(tmp_path: Path) -> None:
    """Bytes from the command line that are no text are refused here, where they can be named."""
    assert "--set prompt.user" in problem(tmp_path, "prompt.user=\udcff")


WRONG = [
    ("api.max_tokens=0", "0", "at least 1"),
    ("api.max_tokens=many", '"many"', "a whole number"),
    ("api.max_tokens=1.5", "1.5", "a whole number"),
    ("api.max_tokens=true", "true", "a whole number"),
    ("api.max_tokens=", '""', "a whole number"),
    ("api.model=", '""', "a text that is not empty"),
    ("api.temperature=2", "2", "at most 1"),
    ("api.temperature=nan", "NaN", "finite"),
    ("api.allow_http=1", "1", "true or false"),
    ("api.auth=basic", '"basic"', '"x-api-key", "bearer" or "none"'),
    ("api.stop_sequences=END", '"END"', "a list"),
    ("api.thinking=off", '"off"', "a table"),
    ("api.thinking={at = 2026-01-01}", '{"at": "2026-01-01"}', "table of texts"),
    ("api.timeout_seconds=0", "0", "above 0"),
    ("api.version=2023 06é", '"2023 06é"', "ASCII"),
    ("api.deadline=soon", '"soon"', "1h30m"),
    ("api.mode=batch", '"batch"', '"messages", "batches" or "auto"'),
    ("api.base_url=localhost:8000", '"localhost:8000"', '"http://localhost:8000"'),
    ("manifest.path=", '""', "not empty"),
    ("manifest.format=xlsx", '"xlsx"', '"parquet"'),
    ("manifest.allow_roots=photos", '"photos"', "a list"),
    ("prompt.user= ", '" "', "none of them empty"),
    ('prompt.user=["a", ""]', '["a", ""]', "none of them empty"),
    ("prompt.turn_images=a", '"a"', "one entry a turn"),
    ("prompt.schema=[1]", "[1]", "inline table, or the path"),
    ("prompt.schema_retries=-1", "-1", "at least 0"),
    ("images.max_edge=big", '"big"', 'at least 28, or "model"'),
    ("images.max_edge=0", "0", 'at least 28, or "model"'),
    ("images.quality=101", "101", "at most 100"),
    ("limits.requests_per_minute=0", "0", '"auto" or "off"'),
    ("limits.requests_per_minute=inf", "Infinity", '"auto" or "off"'),
    ("limits.input_tokens_per_minute=true", "true", '"auto" or "off"'),
    ("limits.concurrency=0", "0", 'at least 1, or "auto"'),
    ("limits.concurrency=2.0", "2.0", 'at least 1, or "auto"'),
    ("limits.max_failures=-1", "-1", "at least 0"),
    ("limits.max_failures=101%", '"101%"', '"1%"'),
    ("limits.budget_usd=-1", "-1", "at least 0"),
    ("limits.share=0", "0", "above 0"),
    ("limits.share=1.5", "1.5", "at most 1"),
    ("retry.max_attempts=0", "0", "at least 1"),
    ("output.rows_per_file=0", "0", "at least 1"),
    ("output.compression=zip", '"zip"', '"zstd"'),
    ("models.x=1", "1", "a table"),
]


@pytest.mark.parametrize(("override", "found", "allowed"), WRONG)
def test_a_wrong_value_is_named_with_what_was_found_and_what_is_allowed(
    tmp_path: Path, override: str, found: str, allowed: str
) -> None:
    """Every error names the key, the value as it was given, what is allowed, and where the value came from."""
    key = override.partition("=")[0]
    message = problem(tmp_path, override)
    assert f"{key}: found {found}" in message
    assert allowed in message
    assert f"(--set {key})" in message


@pytest.mark.parametrize("section", ["manifest", "api", "prompt", "images", "limits", "retry", "output", "models"])
def test_a_section_that_is_no_table_is_named(tmp_path: Path, section: str) -> None:
    """A plain value in the place of a section is told from a section."""
    message = problem(tmp_path, text=f"{section} = 3")
    assert f"{section}: found 3; allowed: a table" in message


def test_what_is_required_is_named_key_by_key(tmp_path: Path) -> None:
    """An empty file says every key that it lacks, at once, and nothing else."""
    lines = problem(tmp_path, text="").splitlines()
    keys = {line.strip().partition(":")[0] for line in lines[1:]}
    assert keys == {"manifest.path", "api.model", "api.max_tokens", "prompt.user", "output.path"}
    assert all("required" in line for line in lines[1:])


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    """Several wrong keys are one error with a line each."""
    message = problem(tmp_path, "api.max_tokens=0", "images.quality=0", "limits.share=0")
    assert message.count("\n") == 3


@pytest.mark.parametrize(
    ("override", "hints"),
    [
        ("api.max_token=1", ['did you mean "max_tokens"?', "base_url"]),
        ("api.MODEL=x", ['did you mean "model"?']),
        ("api.user=x", ['did you mean "prompt.user"?']),
        ("prompt.json_schema=x", ["schema_via"]),
        ("apis.model=x", ['did you mean "api"?', "manifest"]),
        ("manifest.quux=1", ["id_column"]),
        ("api.endpoints=[{base_url='http://localhost', wait=1}]", ['did you mean "weight"?', "api_key_env"]),
    ],
)
def test_an_unknown_key_is_an_error_with_a_suggestion(tmp_path: Path, override: str, hints: list[str]) -> None:
    """What was probably meant is suggested, and everything that stands there is listed."""
    message = problem(tmp_path, override)
    assert "unknown" in message
    assert all(hint in message for hint in hints)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"[api\n", "not valid TOML"),
        (b"a = 1\na = 2\n", "not valid TOML"),
        ("[api]\nmodel = 'é'".encode("latin-1"), "not UTF-8"),
        (LEAST.encode("utf-16"), "not UTF-8"),
        (b"a = " + b"[" * 5000, "TOML"),
        (b"a = '\0'", "not valid TOML"),
    ],
)
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, raw: bytes, words: str) -> None:
    """A damaged file is an error with its name and reason, never a traceback."""
    path = tmp_path / "job.toml"
    path.write_bytes(raw)
    with pytest.raises(ConfigError, match=words) as caught:
        load_config(path, (), {})
    assert "job.toml" in str(caught.value)


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    """A file saved by another editor is the same configuration."""
    path = tmp_path / "job.toml"
    path.write_bytes(b"\xef\xbb\xbf" + LEAST.replace("\n", "\r\n").encode())
    assert load_config(path, (), {}) == config_with(tmp_path)


@pytest.mark.parametrize("name", ["none.toml", ".", "a\0b"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    """A missing file, a folder and an impossible name are errors of the command line."""
    with pytest.raises(ConfigError):
        load_config(tmp_path / name, (), {})


def test_rules_between_keys_name_both(tmp_path: Path) -> None:
    """Turns without images of their own, and `auto` without a deadline, are refused with the remedy."""
    message = problem(tmp_path, 'prompt.user=["a", "b"]', 'prompt.turn_images=["left"]')
    assert "prompt.turn_images: found 1 entries" in message
    assert "prompt.user" in message
    assert "api.deadline" in problem(tmp_path, "api.mode=auto")


@pytest.mark.parametrize("url", ["http://example.com", "http://10.0.0.5:8000", "http://0.0.0.0:1", "HTTP://host/v1"])
def test_plain_http_to_another_host_needs_permission(tmp_path: Path, url: str) -> None:
    """The key does not cross a network in the clear unless the user says so; the error says how."""
    message = problem(tmp_path, f"api.base_url={url}")
    assert "api.base_url: found" in message
    assert "api.allow_http = true" in message
    assert config_with(tmp_path, f"api.base_url={url}", "api.allow_http=true").api.allow_http


def test_plain_http_is_judged_for_every_endpoint(tmp_path: Path) -> None:
    """One of several servers in the clear is named by its place in the list."""
    message = problem(tmp_path, "api.endpoints=[{base_url='https://a'}, {base_url='http://b'}]")
    assert "api.endpoints.1.base_url" in message


@pytest.mark.parametrize("url", ["https://example.com", "http://127.0.0.1:8000", "http://localhost:8000", "embedded"])
def test_https_and_loopback_need_no_permission(tmp_path: Path, url: str) -> None:
    """The service, a server on this machine and the embedded one are allowed as they are."""
    assert config_with(tmp_path, f"api.base_url={url}").api.base_url == url


def test_a_base_url_of_another_program_is_understood(tmp_path: Path) -> None:
    """A trailing `/v1/` does not become part of every path."""
    assert config_with(tmp_path, "api.base_url=https://host/proxy/v1/").api.base_url == "https://host/proxy"


def test_secrets_are_masked_in_what_is_printed(tmp_path: Path) -> None:
    """Passwords and signatures in URLs and the values of headers do not show; names and harmless headers do."""
    config = config_with(
        tmp_path,
        "api.base_url=https://user:canary@host/",
        "api.headers.x-portal=canary",
        "api.headers.Authorization=Basic canary",
        "api.headers.anthropic-beta=files",
        "api.endpoints=[{base_url='https://user:canary@other', api_key_env='OTHER_KEY'}]",
        "output.path=s3://canary@bucket/x?sig=canary",
        "prompt.examples=[{image='https://h/a.jpg?sig=canary', user='u', assistant='a'}]",
        "models.m.retires_on={day=1}",
    )
    plain = effective(config)
    text = json.dumps(plain)
    assert "canary" not in text
    assert plain["api"]["headers"] == {"x-portal": "***", "Authorization": "***", "anthropic-beta": "files"}
    assert plain["api"]["endpoints"][0]["api_key_env"] == "OTHER_KEY"
    assert plain["api"]["base_url"].endswith("@host")


def test_what_is_printed_is_the_whole_configuration(tmp_path: Path) -> None:
    """Every default is shown under the key that users write; globs keep their marks; dates become texts."""
    config = load_config(
        written(tmp_path, f"{LEAST}\n[models.m]\nretires_on = 2027-01-02\n"), ["manifest.path=p/?.jpg"], {}
    )
    plain = effective(config)
    assert plain["manifest"]["path"] == "p/?.jpg"
    assert plain["prompt"]["schema"] is None
    assert plain["images"]["quality"] == 85
    assert json.loads(json.dumps(plain))["models"]["m"]["retires_on"] == "2027-01-02"


@pytest.mark.parametrize(
    "override",
    [
        "api.api_key_env=sk-ant-api03-canary",
        'api.headers.x-api-key=["canary"]',
        "api.headers.x-api-key=canary\né",
        "api.base_url=ftp://user:canary@host",
        "api.base_url=http://user:canary@example.com",
        "api.base_url=https://host/?key=canary",
        "api.base_url=user:canary@host",
    ],
)
def test_no_error_quotes_a_secret(tmp_path: Path, override: str) -> None:
    """A key in the wrong place is refused without repeating it."""
    assert "canary" not in problem(tmp_path, override)


def test_a_key_in_place_of_its_variable_is_explained(tmp_path: Path) -> None:
    """The commonest mistake reads what belongs there."""
    message = problem(tmp_path, "api.api_key_env=sk-ant-api03-x")
    assert "api.api_key_env" in message
    assert "the name of an environment variable, never the key itself" in message


def test_the_key_comes_from_the_variable_that_is_named(tmp_path: Path) -> None:
    """The named variable gives the key, without the line end that a file may have left on it."""
    environ = {"ANTHROPIC_API_KEY": "one", "OTHER": "two\n"}
    assert api_keys(config_with(tmp_path), environ)[0] == "one"
    assert api_keys(config_with(tmp_path, "api.api_key_env=OTHER"), environ)[0] == "two"


@pytest.mark.parametrize("environ", [{}, {"ANTHROPIC_API_KEY": ""}, {"ANTHROPIC_API_KEY": " \n"}])
def test_a_key_that_is_not_set_is_an_error_with_remedies(tmp_path: Path, environ: dict[str, str]) -> None:
    """An unset or empty variable is named, with the three ways out."""
    with pytest.raises(ConfigError, match=r"ANTHROPIC_API_KEY is not set.*api\.auth = \"none\""):
        api_keys(config_with(tmp_path), environ)


def test_a_key_that_no_header_can_carry_is_not_quoted(tmp_path: Path) -> None:
    """A key with a line break or an accent is refused without showing it."""
    for key in ("canary\nx", "canaré"):
        with pytest.raises(ConfigError) as caught:
            api_keys(config_with(tmp_path), {"ANTHROPIC_API_KEY": key})
        assert "canar" not in str(caught.value)


def test_a_server_without_keys_gets_none(tmp_path: Path) -> None:
    """With `api.auth = "none"` nothing is sent; the embedded endpoint never gets the user's own key."""
    environ = {"ANTHROPIC_API_KEY": "canary"}
    assert api_keys(config_with(tmp_path, "api.auth=none"), environ)[0] is None
    assert api_keys(config_with(tmp_path, "api.base_url=embedded"), environ)[0] not in (None, "canary")
    assert api_keys(config_with(tmp_path, "api.base_url=embedded"), {})


def test_the_prompt_is_a_list_of_turns(tmp_path: Path) -> None:
    """One text is one turn."""
    assert prompt_text(config_with(tmp_path)) == ["Describe this image."]
    assert prompt_text(config_with(tmp_path, 'prompt.user=["a", "b"]')) == ["a", "b"]


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ["api.mode=batches", "api.endpoints=[{base_url='https://a'}, {base_url='https://b'}]"],
            'api.mode: found "batches" with several api.endpoints; allowed: one of them: batches belong to one account',
        ),
        (["output.format=delta"], 'output.format: found "delta"; not built yet, allowed: "parquet"'),
        (["api.endpoints=[]"], "api.endpoints: found an empty list; allowed: at least one table, or none of them"),
        (
            ["api.base_url=embedded", "api.endpoints=[{base_url='https://a'}]"],
            'api.endpoints: found "embedded" with it; allowed: addresses of servers, without it',
        ),
        (
            ["images.transport=file", "api.endpoints=[{base_url='https://a'}, {base_url='https://b'}]"],
            (
                'images.transport: found "file" with several api.endpoints; allowed: "base64", "url": ids of files '
                "belong to one account"
            ),
        ),
    ],
)
def test_what_is_not_built_is_named(tmp_path: Path, overrides: list[str], line: str) -> None:
    """A key that asks for what this version lacks is listed with what it may be, alone."""
    assert unbuilt(config_with(tmp_path, *overrides)) == [line]


def test_what_is_built_is_not_named(tmp_path: Path) -> None:
    """The defaults, written out, and everything that works pass; several unbuilt keys are listed together."""
    plain: list[Any] = ["api.mode=messages", "prompt.cache=true", "images.transport=file", "output.format=parquet"]
    assert unbuilt(config_with(tmp_path, *plain, "api.deadline=20h", "prompt.prefill=A")) == []
    assert unbuilt(config_with(tmp_path, "api.mode=batches")) == []
    assert len(unbuilt(config_with(tmp_path, "api.endpoints=[]", "output.format=delta"))) == 2


def test_a_schema_s_file_stands_for_what_it_says(tmp_path: Path) -> None:
    """The path is gone from the configuration, so that a changed file is a changed prompt; `check` shows it whole."""
    path = tmp_path / "caption.json"
    path.write_text('{"type": "object", "properties": {"caption": {"type": "string"}}}')
    by_file = config_with(tmp_path, f"prompt.schema={path}")
    inline = config_with(tmp_path, 'prompt.schema={type = "object", properties = {caption = {type = "string"}}}')
    assert by_file == inline
    assert effective(by_file)["prompt"]["schema"]["type"] == "object"


@pytest.mark.parametrize(("content", "said"), [(None, "No such file"), ("{", "no JSON"), ("[1]", "a JSON object")])
def test_a_schema_s_file_that_cannot_be_used_is_named(tmp_path: Path, content: str | None, said: str) -> None:
    """Missing, torn, or of another kind: the key, the path and the fault."""
    path = tmp_path / "caption.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=said) as refused:
        config_with(tmp_path, f"prompt.schema={path}")
    assert str(refused.value).startswith(f"prompt.schema: {path}")
