"""The command line: parse, call, print. What a command does is elsewhere, and is imported only when it is called."""

import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TextIO

import click

from pipeline.completion import (
    complete_config,
    complete_error_type,
    complete_fault,
    complete_path,
    complete_setting,
)
from pipeline.errors import PipelineError

__all__ = ["cli", "main"]

_SET = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    shell_complete=complete_setting,
    help="Override a key; VALUE is TOML or bare text.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output, nothing else.")
_CONFIG = click.argument("config", metavar="CONFIG", shell_complete=complete_config)
_FILE = click.Path(dir_okay=False, path_type=Path)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line and exits with its code; an error is one line that says what to do, not a traceback."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    _hold_standard_descriptors()
    signal.signal(signal.SIGTERM, _terminated)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a caption that this terminal has no letters for
    try:
        code = cli.main(words, prog_name="pipeline", standalone_mode=False)
    except click.ClickException as error:
        code = _failed(words, error.format_message(), 2, _usage(error))
    except PipelineError as error:
        code = _failed(words, str(error), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        code = 130
    except BrokenPipeError:
        code = 1
    except Exception:  # noqa: BLE001 - a fault of this program: shown whole, since only that helps to mend it
        from pipeline.faces.logs import redacted  # noqa: PLC0415 - only when something is wrong
        from pipeline.faces.plain import write_aside  # noqa: PLC0415 - likewise

        write_aside(redacted(traceback.format_exc()))
        code = _failed(words, "unexpected fault; please report it with the lines above", 1)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            _let_go(stream)
    sys.exit(code if isinstance(code, int) else 0)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="pipeline", prog_name="pipeline")
def cli() -> None:
    """Captions images in bulk over the Anthropic Messages API, into Parquet; no answer is lost or paid for twice.

    \b
    Examples:
      pipeline check job.toml
      pipeline run job.toml --sample 10
      pipeline run job.toml
      pipeline report out/photos
    """  # noqa: D301 - click's own mark


@cli.command()
@_CONFIG
@_SET
@click.option("--limit", type=click.IntRange(1), help="The first N items alone.")
@click.option("--sample", type=click.IntRange(1), help="A stable random choice of N items.")
@click.option("--shard", metavar="I/N", help="One of N parts, counted from 1, by a stable hash of the item id.")
@click.option("--retry-failed", is_flag=True, help="Take up items again that failed for good.")
@click.option(
    "--only",
    metavar="ERROR_TYPE",
    shell_complete=complete_error_type,
    help="With --retry-failed: items that failed with this type alone.",
)
@click.option("--accept-new-fingerprint", is_flag=True, help="Pay again for items answered under other settings.")
@click.option("--max-runtime", metavar="DURATION", help="End in good order after so long, such as 55m; exit code 4.")
@click.option(
    "--otel", is_flag=True, help="Send traces and metrics by OTLP, as the OTEL_* variables say; needs an extra."
)
@click.option("--no-wait", is_flag=True, help="Leave batches in flight once they are submitted; exit code 4.")
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Where the work is done: here, or in shards on a Ray cluster (RAY_ADDRESS, else one of its own).",
)
@click.option(
    "--progress",
    type=click.Choice(["auto", "bar", "log", "none"]),
    default="auto",
    show_default=True,
    help="How the run is shown while it goes: auto is a bar on a terminal, else log lines.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Log lines for people, or one JSON object a line.",
)
@click.option("--log-file", type=_FILE, help="Write the log to this file too.")
@click.option("--metrics-file", type=_FILE, help="Write counters for Prometheus' textfile collector; needs an extra.")
@click.option("--heartbeat", metavar="PATH|URL", help="Touch a file, or ask a URL once, at the end of a good run.")
@_JSON
def run(config: str, overrides: tuple[str, ...], as_json: bool, **options: Any) -> int:
    """Caption the manifest's images; run again to resume.

    \b
    Exit codes: 0 all settled; 1 more failed than limits.max_failures allows, or the run broke off;
    2 wrong command line, config or manifest; 3 stopped by the service's answer; 4 budget or
    --max-runtime reached; 75 another run holds the output; 130, 143 interrupted.

    \b
    Examples:
      pipeline run configs/demo.toml
      pipeline run job.toml --limit 100 --set api.max_tokens=200 --set limits.budget_usd=5
      pipeline run job.toml --max-runtime 55m --progress log --log-format json
    """  # noqa: D301 - click's own mark
    from pipeline.commands.running import run_command  # noqa: PLC0415 - keeps the command line quick to start

    return run_command(config, overrides, options, as_json=as_json)


@cli.command()
@_CONFIG
@_SET
@click.option("--online", is_flag=True, help="Also ask the service for the model (GET /v1/models, free).")
@_JSON
def check(config: str, overrides: tuple[str, ...], online: bool, as_json: bool) -> int:
    """Validate config, manifest and a sample of its images; sends nothing to the service.

    \b
    Examples:
      pipeline check job.toml
      pipeline check job.toml --set manifest.path=photos/ --json
    """  # noqa: D301 - click's own mark
    from pipeline.commands.checking import check_command  # noqa: PLC0415 - keeps the command line quick to start

    return check_command(config, overrides, online=online, as_json=as_json)


@cli.command()
@_CONFIG
@_SET
@click.option("--online", is_flag=True, help="Calibrate the text by one count_tokens call, which is free.")
@_JSON
def estimate(config: str, overrides: tuple[str, ...], online: bool, as_json: bool) -> int:
    """Tell items, images, tokens and dollars before anything is sent, from image headers alone.

    \b
    Examples:
      pipeline estimate job.toml
      pipeline estimate job.toml --set api.model=claude-sonnet-5-5 --online
    """  # noqa: D301 - click's own mark
    from pipeline.commands.checking import estimate_command  # noqa: PLC0415 - keeps the command line quick to start

    return estimate_command(config, overrides, online=online, as_json=as_json)


@cli.command()
@click.argument("output", type=click.Path(file_okay=False, path_type=Path))
@_JSON
def status(output: Path, as_json: bool) -> int:
    """Tell what a dataset holds: succeeded, failed by type, tokens, dollars, runs.

    \b
    Examples:
      pipeline status out/photos
      pipeline status out/photos --json
    """  # noqa: D301 - click's own mark
    from pipeline.commands.datasets import status_command  # noqa: PLC0415 - keeps the command line quick to start

    return status_command(output, as_json=as_json)


@cli.command()
@click.argument("output", type=click.Path(file_okay=False, path_type=Path))
@click.option("-o", "target", type=_FILE, help="Where to write it.  [default: OUTPUT/report.html]")
def report(output: Path, target: Path | None) -> int:
    """Make one self-contained HTML page of a dataset: totals, failures, and pictures with their captions.

    \b
    Examples:
      pipeline report out/photos
      pipeline report out/photos -o report.html
    """  # noqa: D301 - click's own mark
    from pipeline.commands.datasets import report_command  # noqa: PLC0415 - keeps the command line quick to start

    return report_command(output, target)


@cli.command()
@click.argument("output", type=click.Path(file_okay=False, path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Listen elsewhere than on this machine alone.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, show_default=True, help="0 takes any free one.")
@click.option("--reviewer", metavar="NAME", help="Who decides, unless the page says otherwise.  [default: your login]")
@click.option("--fingerprint", metavar="PREFIX", help="Whose captions.  [default: the newest]")
@click.option("--root", type=click.Path(file_okay=False, path_type=Path), help="Where the images are now.")
def view(output: Path, **options: Any) -> int:
    """Look through a dataset in the browser while it grows; accept, edit or reject captions.

    \b
    Examples:
      pipeline view out/photos
      pipeline view out/photos --port 8000 --reviewer ada
    """  # noqa: D301 - click's own mark
    from pipeline.commands.looking import view_command  # noqa: PLC0415 - keeps the command line quick to start

    return view_command(output, options)


@cli.command()
@click.argument("output", type=click.Path(file_okay=False, path_type=Path))
@click.argument("other", type=click.Path(file_okay=False, path_type=Path), required=False)
@click.option("--fingerprints", nargs=2, metavar="A B", help="Two fingerprints, or beginnings; B is of OTHER if given.")
@click.option("-o", "target", type=_FILE, help="Where to write it.  [default: OUTPUT/compare.html]")
def compare(output: Path, other: Path | None, fingerprints: tuple[str, str] | None, target: Path | None) -> int:
    """Make one page with the same pictures under two prompts or models, side by side.

    \b
    Examples:
      pipeline compare out/photos --fingerprints 236981b0 9f0c
      pipeline compare out/haiku out/sonnet -o compare.html
    """  # noqa: D301 - click's own mark
    from pipeline.commands.looking import compare_command  # noqa: PLC0415 - keeps the command line quick to start

    return compare_command(output, other, fingerprints or (), target)


@cli.command()
@click.argument("source", shell_complete=complete_path)
@click.option(
    "-o", "output", type=_FILE, required=True, help="The manifest; its suffix tells csv, tsv, jsonl, parquet."
)
@click.option("--sizes", is_flag=True, help="Add bytes, width and height, from headers alone.")
@click.option("--force", is_flag=True, help="Replace a file that is there already.")
def manifest(**options: Any) -> int:
    """Make a manifest from a folder, a glob or a bucket's prefix.

    \b
    Examples:
      pipeline manifest photos/ -o photos.parquet --sizes
      pipeline manifest 's3://bucket/2026/' -o photos.csv
    """  # noqa: D301 - click's own mark
    from pipeline.commands.making import manifest_command  # noqa: PLC0415 - keeps the command line quick to start
    from pipeline.manifest.making import MakingSettings  # noqa: PLC0415 - likewise

    return manifest_command(MakingSettings(**options))


@cli.command()
@click.argument("output", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "jsonl", "sidecar", "imagefolder", "webdataset"]),
    required=True,
    help="csv and jsonl make a file, the others a folder.",
)
@click.option("-o", "target", type=click.Path(path_type=Path), required=True, help="A place that is not there yet.")
@click.option("--root", type=click.Path(file_okay=False, path_type=Path), help="Where the images are now.")
@click.option("--reviewed/--no-reviewed", default=True, help="With or without what reviewers decided.  [default: with]")
def export(output: Path, form: Any, target: Path, root: Path | None, reviewed: bool) -> int:
    """Write captions as a table, as texts beside the images, or as a training set.

    \b
    Examples:
      pipeline export out/photos --format csv -o captions.csv
      pipeline export out/photos --format sidecar -o captions/ --root photos/
    """  # noqa: D301 - click's own mark
    from pipeline.commands.datasets import export_command  # noqa: PLC0415 - keeps the command line quick to start

    return export_command(output, form, target, root, reviewed=reviewed)


@cli.command()
@_CONFIG
@click.argument("verb", type=click.Choice(["list", "cancel"]), metavar="VERB")
@_SET
@_JSON
def batches(config: str, verb: Any, overrides: tuple[str, ...], as_json: bool) -> int:
    """Show what api.mode = "batches" has in flight, or have it end early: what is answered by then is kept and billed.

    \b
    Examples:
      pipeline batches job.toml list
      pipeline batches job.toml cancel
    """  # noqa: D301 - click's own mark
    from pipeline.commands.batching import batches_command  # noqa: PLC0415 - keeps the command line quick to start

    return batches_command(config, overrides, verb, as_json=as_json)


@cli.command()
@_CONFIG
@click.argument("verb", type=click.Choice(["list", "delete"]), metavar="VERB")
@_SET
def files(config: str, verb: Any, overrides: tuple[str, ...]) -> int:
    """Say list or delete: what runs have uploaded through the Files API.

    \b
    Examples:
      pipeline files job.toml list
      pipeline files job.toml delete
    """  # noqa: D301 - click's own mark
    from pipeline.commands.filing import files_command  # noqa: PLC0415 - keeps the command line quick to start

    return files_command(config, overrides, verb)


@cli.command()
@click.argument("output", type=click.Path(file_okay=False, path_type=Path))
def compact(output: Path) -> int:
    """Merge small Parquet parts into large ones, safely.

    \b
    Examples:
      pipeline compact out/photos
    """  # noqa: D301 - click's own mark
    from pipeline.commands.datasets import compact_command  # noqa: PLC0415 - keeps the command line quick to start

    return compact_command(output)


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes any free one.")
@click.option("--log", type=_FILE, help="JSONL of everything answered and billed, synced before the answer leaves.")
@click.option("--latency", metavar="SECONDS[,SECONDS]", default="0", show_default=True, help="One, or between two.")
@click.option(
    "--requests-per-minute", type=click.IntRange(1), help="Answer 429 above it; by default there is no limit."
)
@click.option("--input-tokens-per-minute", type=click.IntRange(1), help="Likewise.")
@click.option("--output-tokens-per-minute", type=click.IntRange(1), help="Likewise.")
@click.option(
    "--burst-seconds", type=click.FloatRange(0.001), default=60.0, show_default=True, help="1 is strict, 60 generous."
)
@click.option("--no-limit-headers", is_flag=True, help="Send no rate-limit headers, as self-hosted servers do.")
@click.option(
    "--max-base64-bytes",
    type=click.IntRange(1),
    default=5_242_880,
    show_default=True,
    help="Refuse an image whose base64 text is longer.",
)
@click.option("--key", "keys", multiple=True, help="Accept this key alone; repeatable. By default any is taken.")
@click.option("--look", is_flag=True, help="Have a small real model look at every picture; needs an extra.")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="NAME[:KEY=VALUE,...]",
    shell_complete=complete_fault,
    help="Script a misfortune; repeatable.",
)
@click.option(
    "--batch-seconds", metavar="SECONDS[,SECONDS]", default="0", show_default=True, help="How long a batch takes."
)
@click.option("--batch-cancel-seconds", type=click.FloatRange(0), default=0.0, help="How long its cancellation takes.")
@click.option("--batch-hold", is_flag=True, help="Finish nothing of a batch until it is released.")
@click.option(
    "--batch-queue", type=click.IntRange(1), help="Answer 429 to a batch with which more requests would wait."
)
@click.option("--batch-calls-per-minute", type=click.IntRange(1), help="Answer 429 above it to batch calls.")
@click.option("--batch-most", type=click.IntRange(1), default=100_000, show_default=True, help="Requests of a batch.")
@click.option("--batch-bytes", type=click.IntRange(1), default=256_000_000, show_default=True, help="Bytes of a batch.")
@click.option("--batch-seed", type=int, default=0, show_default=True, help="Of the order of finishing and of results.")
def serve(**options: Any) -> int:
    """Serve a local stand-in of the Messages API, for tests, demos and load trials.

    \b
    Examples:
      pipeline serve --port 8080 --log answers.jsonl
      pipeline serve --requests-per-minute 1200 --burst-seconds 1 --latency 0.2,3
      pipeline serve --fault 429:first=3,retry_after=2 --fault reset_mid_body:at=10
    """  # noqa: D301 - click's own mark
    from pipeline.commands.serving import serve_command  # noqa: PLC0415 - keeps the command line quick to start

    return serve_command(options)


def _terminated(number: int, frame: FrameType | None) -> None:
    """SIGTERM outside a run: the process exits with 143, it does not die of the signal."""
    del frame
    sys.exit(128 + number)


def _failed(words: Sequence[str], message: str, code: int, hint: str = "") -> int:
    """Says what went wrong: on standard error, and as JSON where that was asked for."""
    from pipeline.faces.plain import write_aside  # noqa: PLC0415 - only when something is wrong

    write_aside(f"pipeline: {message}{hint}")
    if "--json" in words:
        with suppress(OSError):
            sys.stdout.write(f"{json.dumps({'exit_code': code, 'error': {'message': message}})}\n")
            sys.stdout.flush()
    return code


def _hold_standard_descriptors() -> None:
    """Puts an empty device in the place of a closed standard stream.

    Else the journal might get its number, and libraries that write to it would write into the journal.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def _let_go(stream: TextIO) -> None:
    """Has what a stream still holds go nowhere if it cannot be written: the exit code is about the run."""
    try:
        stream.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _usage(error: click.ClickException) -> str:
    context: click.Context | None = getattr(error, "ctx", None)
    return f"\n(try: {context.command_path} --help)" if context is not None else ""
