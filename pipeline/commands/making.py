"""`pipeline manifest`."""

from pipeline.commands.saying import say
from pipeline.faces.logs import set_up_logs
from pipeline.faces.plain import counted
from pipeline.images.measuring import measurer
from pipeline.manifest.making import MakingSettings, make_manifest
from pipeline.manifest.objects import ObjectStores

__all__ = ["manifest_command"]


def manifest_command(settings: MakingSettings) -> int:
    """Makes a manifest of what is there."""
    set_up_logs("text", None, ())
    stores = ObjectStores()
    made = make_manifest(settings, measurer(stores), stores)
    lines = [f"{counted(made.rows, 'image')} listed in {settings.output}"]
    if made.skipped:
        lines.append(f"{counted(made.skipped, 'name')} left out, see above")
    if made.unmeasured:
        lines.append(f"{counted(made.unmeasured, 'image')} without a size: it cannot be read from the header")
    if made.root is not None:
        lines.append(f'set manifest.root = "{made.root}": the images lie outside the manifest\'s folder')
    say("\n".join(lines))
    return 0
