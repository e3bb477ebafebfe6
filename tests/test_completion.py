"""What the shell offers when Tab is pressed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import CompletionItem, ShellComplete
from support.configs import every_key

from pipeline.cli import cli
from pipeline.errors import ErrorType
from pipeline.standin.faults import NAMES

BIN = Path(sys.executable).parent


def items(*words: str) -> list[CompletionItem[str]]:
    """What is offered for the last of these words."""
    return ShellComplete(cli, {}, "pipeline", "_PIPELINE_COMPLETE").get_completions(list(words[:-1]), words[-1])


def offered(*words: str) -> list[str]:
    """Likewise, as texts."""
    return [item.value for item in items(*words)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with configurations at several depths, and with what is none."""
    for name in ("job.toml", "jobs/a.toml", "jobs/b/c.toml", "jobs/b/d/deep.toml", ".hidden/x.toml", "pyproject.toml"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "jobs" / "photos.csv").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("", ["job.toml", "jobs/a.toml", "jobs/b/c.toml"]),
        ("jobs/", ["jobs/a.toml", "jobs/b/c.toml", "jobs/b/d/deep.toml"]),
        ("jobs/b/d", ["jobs/b/d/deep.toml"]),
        ("./jo", ["./job.toml", "./jobs/a.toml", "./jobs/b/c.toml"]),
    ],
)
@pytest.mark.parametrize("command", ["run", "check", "estimate", "files"])
def test_configurations_are_found_near_what_is_typed(folder: Path, command: str, typed: str, found: list[str]) -> None:
    """Two folders down, as they were typed, without what is hidden or of another kind."""
    assert folder == Path.cwd()
    assert offered(command, typed) == found


@pytest.mark.parametrize("typed", ["none", "gone/", "/nowhere/x"])
def test_where_there_is_no_configuration_the_shell_looks_for_files(folder: Path, typed: str) -> None:
    """As it does for any program."""
    assert folder == Path.cwd()
    assert [(item.value, item.type) for item in items("run", typed)] == [(typed, "file")]


def test_a_folder_of_many_images_is_not_read_whole(folder: Path) -> None:
    """A configuration among the first thousand entries is found; Tab never waits for a million."""
    for number in range(1100):
        (folder / f"jobs/{number}.jpg").touch()
    assert len(offered("run", "jobs/")) <= 3


def test_every_key_can_be_set() -> None:
    """But `models`, whose names are the user's."""
    assert offered("run", "x", "--set", "") == [f"{key}=" for key in every_key() if key != "models"]
    assert all(item.help for item in items("run", "x", "--set", "api."))


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("api.mo", ["api.model=", "api.mode="]),
        ("api.mode=", ["api.mode=messages", "api.mode=batches", "api.mode=auto"]),
        ("api.mode=b", ["api.mode=batches"]),
        ("prompt.cache=", ["prompt.cache=true", "prompt.cache=false"]),
        ("limits.requests_per_minute=", ["limits.requests_per_minute=auto", "limits.requests_per_minute=off"]),
        ("images.max_edge=", ["images.max_edge=model"]),
        ("api.service_tier=s", ["api.service_tier=standard_only"]),
        ("api.max_tokens=", []),
        ("nothing.", []),
    ],
)
def test_keys_and_the_values_of_those_that_have_few(typed: str, found: list[str]) -> None:
    """The key first, then behind its `=` what it takes."""
    assert sorted(offered("check", "x", "--set", typed)) == sorted(found)


def test_error_types_and_faults_are_those_that_there_are() -> None:
    """The service's own types stand beside ours."""
    types = offered("run", "x", "--retry-failed", "--only", "")
    assert {str(each) for each in ErrorType} < set(types)
    assert {"rate_limit_error", "overloaded_error"} < set(types)
    assert offered("run", "x", "--only", "image_t") == ["image_too_large"]
    assert offered("serve", "--fault", "") == sorted(NAMES)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("export", "out", "--format", "w"), ["webdataset"]),
        (("run", "x", "--progress", ""), ["auto", "bar", "log", "none"]),
        (("run", "x", "--log-format", "j"), ["json"]),
        (("run", "x", "--engine", ""), ["local", "ray"]),
        (("chec",), ["check"]),
        (("run", "x", "--acc"), ["--accept-new-fingerprint"]),
    ],
)
def test_words_with_few_values_are_offered_whole(words: tuple[str, ...], found: list[str]) -> None:
    """Commands, options, and the values of options."""
    assert offered(*words) == found


@pytest.mark.parametrize(("words", "kind"), [(("status", "o"), "dir"), (("manifest", "ph"), "file")])
def test_outputs_and_sources_are_the_shells_to_find(words: tuple[str, ...], kind: str) -> None:
    """Folders for a dataset, files and folders for a source of images."""
    assert [item.type for item in items(*words)] == [kind]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(shell: str) -> None:
    """It names the program and asks it."""
    environment = {**os.environ, "_PIPELINE_COMPLETE": f"{shell}_source"}
    done = subprocess.run([BIN / "pipeline"], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"_PIPELINE_COMPLETE={shell}_complete" in done.stdout


def test_bash_itself_completes(folder: Path) -> None:
    """With the line that the documentation gives for its start-up file."""
    script = """
        eval "$(_PIPELINE_COMPLETE=bash_source pipeline)"
        COMP_WORDS=(pipeline run jobs/a); COMP_CWORD=2
        _pipeline_completion pipeline
        echo "${COMPREPLY[@]}"
    """
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    command = ["bash", "--norc", "-c", script]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("jobs/a.toml\n", "")


def test_the_command_line_loads_nothing_heavy_before_a_command_is_called() -> None:
    """Help and completion are there at once."""
    heavy = ["pyarrow", "PIL", "httpx", "aiohttp", "pydantic", "anyio", "uvicorn", "rich", "jinja2", "asyncio"]
    script = f"import sys, pipeline.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n"
