"""Leave to pay again: items that the dataset answered under other settings are not re-billed without a word."""

from pipeline.engines.plan import RunPlan
from pipeline.engines.selection import Part, chosen_rows
from pipeline.errors import ConfigError
from pipeline.manifest.producer import open_manifest
from pipeline.manifest.seen import SeenItems
from pipeline.store.journal import Journal

__all__ = ["ensure_leave"]


def ensure_leave(plan: RunPlan, part: Part, journal: Journal, *, given: bool) -> None:
    """Does nothing where this run re-bills no item, or where leave is given now or was before.

    Leave is remembered in the journal, so that a run that resumes under the new settings needs no second one.

    Raises:
        ConfigError: so many items are answered already under other settings; names the remedy.
    """
    others = [one for one in journal.fingerprints() if one != plan.fingerprint]
    if not others or journal.has_leave(plan.fingerprint):
        return
    if given:
        journal.give_leave(plan.fingerprint)
        return
    where = f"{plan.config.output.path}: fingerprint {plan.fingerprint}, the last one was {others[-1]}"
    remedy = "give --accept-new-fingerprint, or choose another output.path"
    if plan.manifest.path == "-":
        raise ConfigError(f"{where}: standard input cannot be read twice to count what would be billed again; {remedy}")
    count = 0
    with open_manifest(plan.manifest) as manifest, SeenItems(plan.dataset.state) as seen:
        for rows in chosen_rows(manifest, seen, part):
            count += journal.answered_otherwise(rows.keys, plan.fingerprint)
    if count:
        raise ConfigError(
            f"{where}: {count} items of this manifest are answered already, under another model, prompt or image "
            f"setting, and would be billed again; {remedy}"
        )
