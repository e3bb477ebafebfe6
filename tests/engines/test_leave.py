"""Leave to pay again for what is answered under other settings."""

from pathlib import Path

import pytest
from support.datasets import answered, failed, snapshot, write_run
from support.jobs import Job, make_job
from support.running import plan_of

from pipeline.engines.leave import ensure_leave
from pipeline.engines.selection import Part
from pipeline.errors import ConfigError
from pipeline.store.dataset import open_dataset


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Four items, of which three are answered and one failed under `f1`."""
    job = make_job(tmp_path / "job", "embedded", images=4)
    write_run(job.output, [*(answered(name) for name in job.ids[:3]), failed(job.ids[3])])
    return job


def ask(job: Job, *overrides: str, part: Part | None = None, given: bool = False) -> None:
    """Whether a run of this job may begin."""
    plan = plan_of(job, *overrides)
    with open_dataset(plan.dataset) as journal:
        ensure_leave(plan, part or Part(), journal, given=given)


@pytest.mark.parametrize(("part", "count"), [(Part(), 3), (Part(limit=2), 2), (Part(threshold=-1), None)])
def test_answered_items_of_the_part_are_counted(job: Job, part: Part, count: int | None) -> None:
    """The message has their number, both fingerprints and the remedy; failures cost nothing new to be told of."""
    if count is None:
        ask(job, part=part)
        return
    with pytest.raises(ConfigError) as refused:
        ask(job, part=part)
    for text in (f"{count} items", "f1", plan_of(job).fingerprint, "--accept-new-fingerprint", "output.path"):
        assert text in str(refused.value)
    assert refused.value.exit_code == 2


def test_asking_leaves_the_dataset_alone(job: Job) -> None:
    """A refusal is no trace of a run."""
    with open_dataset(plan_of(job).dataset):
        pass
    before = snapshot(job.output)
    with pytest.raises(ConfigError):
        ask(job)
    assert snapshot(job.output) == before


def test_leave_is_remembered_for_its_fingerprint_alone(job: Job) -> None:
    """A run that resumes needs no second one; another change needs its own."""
    ask(job, given=True)
    ask(job)
    with pytest.raises(ConfigError, match="3 items"):
        ask(job, "api.max_tokens=299")


def test_new_items_and_items_answered_under_these_settings_need_none(job: Job, tmp_path: Path) -> None:
    """Nothing is paid for twice, so nobody is asked."""
    write_run(
        job.output, [answered(name) for name in job.ids[:3]], run_id="run-2", fingerprint=plan_of(job).fingerprint
    )
    ask(job)
    fresh = make_job(tmp_path / "fresh", "embedded", images=1, settings={"output": {"path": str(job.output)}})
    (fresh.folder / "photos.csv").write_text("id,image,title\nother,item-000.jpg,T\n")
    ask(fresh, "api.max_tokens=298")


def test_an_empty_dataset_needs_none(tmp_path: Path) -> None:
    """The first run of all."""
    ask(make_job(tmp_path, "embedded", images=1))


def test_standard_input_cannot_be_counted_so_leave_must_be_given(job: Job) -> None:
    """Refused rather than guessed; with leave it goes."""
    with pytest.raises(ConfigError, match="standard input cannot be read twice"):
        ask(job, "manifest.path=-")
    ask(job, "manifest.path=-", given=True)


def test_one_item_is_one_item(job: Job) -> None:
    """Rows that stand twice are counted once."""
    job.add_rows(*[[name, f"{name}.jpg", "T"] for name in job.ids[:3]])
    with pytest.raises(ConfigError, match="3 items"):
        ask(job)


def test_the_part_is_the_runs_own(job: Job) -> None:
    """Shards of the manifest that this run is not about are not asked about."""
    counts: list[int] = []
    for number in (1, 2):
        try:
            ask(job, part=Part(shard=(number, 2)))
            counts.append(0)
        except ConfigError as error:
            counts.append(int(str(error).partition(" items")[0].rpartition(" ")[2]))
    assert sum(counts) == 3
