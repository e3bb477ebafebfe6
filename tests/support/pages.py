"""Datasets for tests of pages: photographs with captions, and every naughty text wherever a text can stand."""

import json
from pathlib import Path

from pipeline.records import ImageRecord, Usage
from pipeline.store.identity import RunIdentity
from pipeline.store.ledger import Ledger
from support.datasets import answered, caption_all, failed, with_ledger, write_run
from support.naughty import NAUGHTY
from support.pictures import encoded, smooth

__all__ = ["gallery_dataset", "naughty_dataset"]

_WORDS = ("a red boat on a calm lake", "two dogs asleep on a sofa", "an old tower before a grey sky", "a bowl of plums")


def gallery_dataset(output: Path, *, fingerprints: tuple[str, ...] = ("f1",), items: int = 60) -> Path:
    """Items with pictures, warnings and columns, five of them failed; each fingerprint words its own captions."""
    for number, mark in enumerate(fingerprints):
        outcomes = [
            answered(
                f"photo-{item:03}",
                caption=f"Photo {item} shows {_WORDS[item % 4]}, seen from {'afar' if number else 'near'}.",
                manifest={"place": ("Bergen", "Turin", "Lagos")[item % 3], "year": 1900 + item},
                cost_usd=0.001 * (item + 1 + number),
                usage=Usage(900 + item, 20 + item % 7),
                latency_ms=300.0 + item,
                warnings=("truncated",) if item % 9 == 0 else (),
                thumbnail=encoded(smooth(120 + item % 40, 100, item), "WEBP", quality=50),
            )
            for item in range(items - 5)
        ]
        outcomes += [failed(f"photo-{item:03}", "refusal") for item in range(items - 5, items)]
        write_run(output, outcomes, run_id=f"run-{number + 1}", fingerprint=mark)
    return output


def naughty_dataset(output: Path, fingerprint: str = "f1") -> Path:
    """Every naughty text as an id, a caption, a column with its value, a path, a warning, a reply and a message."""
    columns = {text: text for text in NAUGHTY}
    schema = json.dumps({"type": "object", "properties": {text: {"type": "string"} for text in NAUGHTY[:10]}})

    async def body(ledger: Ledger) -> None:
        outcomes = []
        for number, text in enumerate(NAUGHTY):
            other = NAUGHTY[(number + (fingerprint != "f1")) % len(NAUGHTY)]
            outcome = answered(
                text,
                caption=other,
                replies=(text, other),
                manifest=columns,
                warnings=(text,),
                data=dict.fromkeys(NAUGHTY[:10], text),
                model=text,
                stop_reason=text,
            )
            object.__setattr__(outcome, "images", (ImageRecord(text, warnings=(text,)),))
            outcomes.append(outcome)
        outcomes += [failed(f"failed {text}", text, source=text) for text in NAUGHTY]
        await caption_all(ledger, outcomes)

    with_ledger(output, body, RunIdentity(f"run-{fingerprint}", fingerprint, data_schema=schema))
    entry = {"run_id": NAUGHTY[0], "fingerprint": fingerprint, "exit_code": 0, "config": {"api": {"model": NAUGHTY[1]}}}
    (output / "runs").mkdir(exist_ok=True)
    (output / "runs" / f"naughty-{fingerprint}.json").write_text(json.dumps({**entry, "started_at": NAUGHTY[4]}))
    return output
