"""What a run was asked for, and what stands open before its engine starts."""

from dataclasses import dataclass, field

from pipeline.engines.control import RunControl
from pipeline.engines.plan import RunPlan
from pipeline.engines.selection import Choice, Part
from pipeline.manifest.producer import Manifest
from pipeline.prompts.templates import Templates
from pipeline.store.journal import Journal

__all__ = ["OpenRun", "RunOptions", "WorkerPart"]


@dataclass(frozen=True, slots=True)
class WorkerPart:
    """A run that is one of several workers: its limits come as leases, and others end it.

    Attributes:
        run_id: under which its rows stand.
        control: by which it is ended.
        cores: on which it decodes images.
    """

    run_id: str
    control: RunControl
    cores: int = 1


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the command line says beside the configuration.

    Attributes:
        choice: which items.
        accept_new_fingerprint: whether items that were answered under other settings may be paid for again.
        max_runtime_s: the run ends in good order after so long.
        signals: whether SIGINT and SIGTERM end the run in good order; needs the main thread.
        wait: whether the run stays until its batches have ended.
        part: what one of several workers is, `None` for a run of its own.
    """

    choice: Choice = field(default_factory=Choice)
    accept_new_fingerprint: bool = False
    max_runtime_s: float | None = None
    signals: bool = True
    wait: bool = True
    part: WorkerPart | None = None


@dataclass(frozen=True, slots=True)
class OpenRun:
    """What stands open while a run goes."""

    plan: RunPlan
    options: RunOptions
    control: RunControl
    manifest: Manifest
    templates: Templates
    part: Part
    journal: Journal
    rows: int | None
