"""The direction of imports: up the list of docs/architecture.md, never down."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "pipeline"
LEVELS = [
    ("errors", "durations", "urls"),
    ("images.geometry",),
    ("records",),
    ("settings", "values"),
    ("explaining",),
    ("config", "fingerprint"),
    ("manifest",),
    ("images",),
    ("prompts",),
    ("limits",),
    ("api",),
    ("config_schema",),
    ("store",),
    ("standin",),
    ("engines",),
    ("exports",),
    ("faces",),
    ("notebook",),
    ("commands",),
    ("completion",),
    ("cli",),
    ("__main__", "__init__"),
]
DOORS = {
    "httpx": {"api/transport.py", "api/wire.py", "images/fetch.py"},
    "aiohttp": {"api/wire.py"},
    "tenacity": {"api/retry.py", "images/fetch.py"},
    "rich": {"faces/progress.py"},
    "click": {"cli.py", "completion.py"},
    "IPython": {"faces/display.py"},
    "numpy": {"standin/vision_archive.py", "standin/vision_network.py", "standin/vision_likely.py"},
    "opentelemetry": {"faces/telemetry.py"},
    "threadpoolctl": {"standin/vision_likely.py"},
    "uvicorn": {"standin/server.py", "faces/view_server.py"},
    "ray": {"engines/ray/cluster.py", "engines/ray/session.py", "engines/ray/worker.py"},
    "pygal": {"faces/plots.py"},
    "jsonschema": {"prompts/schemas.py"},
    "jinja2": {"prompts/templates.py", "faces/page.py"},
}
FOLDER_DOORS = {"PIL": {"images", "standin"}, "pyarrow": {"manifest", "store"}, "starlette": {"standin", "faces"}}


def modules() -> list[Path]:
    """Every module of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Dotted names that a module imports, from anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found |= {str(node.module)} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def level(dotted: str) -> int:
    """The place of a module in the list; the most specific entry decides."""
    best = (-1, -1)
    for number, names in enumerate(LEVELS):
        for name in names:
            if dotted == name or dotted.startswith(f"{name}."):
                best = max(best, (len(name), number))
    assert best[1] >= 0, f"pipeline.{dotted} has no place in the list of levels"
    return best[1]


def dotted_name(path: Path) -> str:
    """`images.prepare` for `pipeline/images/prepare.py`."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


@pytest.mark.parametrize("path", modules(), ids=dotted_name)
def test_imports_point_up_the_list(path: Path) -> None:
    """A module imports nothing that stands below it."""
    here = dotted_name(path)
    for name in imports(path):
        inside = re.sub(r"^pipeline\.?", "", name)
        if not name.startswith("pipeline.") or not is_module(inside):
            continue
        assert level(inside) <= level(here), f"pipeline.{here} imports pipeline.{inside}, which stands below it"


def is_module(dotted: str) -> bool:
    """Whether the name is a module or a package, and not something in one."""
    place = PACKAGE.joinpath(*dotted.split("."))
    return place.is_dir() or place.with_suffix(".py").is_file()


@pytest.mark.parametrize("path", modules(), ids=dotted_name)
def test_each_library_comes_in_by_its_doors(path: Path) -> None:
    """Third-party libraries are imported where the architecture says, and nowhere else."""
    here = path.relative_to(PACKAGE).as_posix()
    for name in imports(path):
        library = name.partition(".")[0]
        if library in DOORS:
            assert here in DOORS[library], f"{here} imports {library}; its doors are {sorted(DOORS[library])}"
        if library in FOLDER_DOORS:
            assert here.partition("/")[0] in FOLDER_DOORS[library], f"{here} imports {library}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "standin").rglob("*.py")), ids=dotted_name)
def test_the_stand_in_imports_nothing_of_the_rest(path: Path) -> None:
    """Client and server cannot share a mistake."""
    assert not [name for name in imports(path) if name.startswith("pipeline") and "standin" not in name]


@pytest.mark.parametrize(
    "name", ["errors", "records", "images/geometry", "prompts/plan", "api/messages", "api/catalogue", "limits/bucket"]
)
def test_pure_modules_do_no_io(name: str) -> None:
    """What is stated to be pure opens no file, no socket and no clock."""
    forbidden = {"os", "socket", "time", "sqlite3", "anyio", "asyncio", "random"}
    assert not imports(PACKAGE / f"{name}.py") & forbidden
