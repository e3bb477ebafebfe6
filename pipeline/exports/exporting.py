"""`pipeline export`: one dataset, one format, one new place."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, TextIO

from pipeline.errors import ConfigError, OutputError
from pipeline.exports.captions import Captions
from pipeline.exports.folders import Originals, new_folder, write_imagefolder, write_sidecars, write_webdataset
from pipeline.exports.tables import open_new, write_csv, write_jsonl
from pipeline.store.buckets import Place
from pipeline.store.read import dataset_status

__all__ = ["FORMATS", "Format", "export", "originals_of"]

Format = Literal["csv", "jsonl", "sidecar", "imagefolder", "webdataset"]
FORMATS: tuple[Format, ...] = ("csv", "jsonl", "sidecar", "imagefolder", "webdataset")
_TABLES: dict[str, Callable[[Captions, TextIO], int]] = {"csv": write_csv, "jsonl": write_jsonl}


def export(output: Place, form: Format, target: Path, root: Path | None = None, *, reviewed: bool = True) -> int:
    """Writes the captions under the newest fingerprint to a place that does not exist yet; returns their number.

    Args:
        output: the dataset.
        form: the format.
        target: a file for `csv` and `jsonl`, else a folder.
        root: where relative image paths start; by default where the last run found them.
        reviewed: whether what reviewers decided is applied, where they did.

    Raises:
        OutputError: `output` is no dataset, or the target cannot be written.
        ConfigError: the target exists.
    """
    captions = Captions(output, reviewed=reviewed)
    return _written(captions, form, target, originals_of(output, root))


def _written(captions: Captions, form: Format, target: Path, originals: Originals) -> int:
    try:
        if form in _TABLES:
            with open_new(target) as sink:
                return _TABLES[form](captions, sink)
        folder = new_folder(target)
        if form == "sidecar":
            return write_sidecars(captions, folder, str(originals.root))
        return (write_imagefolder if form == "imagefolder" else write_webdataset)(captions, folder, originals)
    except FileExistsError:
        raise ConfigError(f"-o {target}: exists already; name a new place, or remove it") from None
    except OSError as error:
        raise OutputError(f"-o {target}: cannot be written: {error.strerror or error}") from error


def originals_of(output: Place, root: Path | None) -> Originals:
    """Where a dataset's images are, by the newest run that notes it; the working directory where none does."""
    for run in reversed(dataset_status(output).runs):
        if isinstance(run.get("image_root"), str):
            allowed = run.get("config", {}).get("manifest", {}).get("allow_roots") or []
            return Originals((root or Path(run["image_root"])).resolve(), tuple(Path(one).resolve() for one in allowed))
    return Originals((root or Path()).resolve())
