"""Sources: every spelling of a reference, and what each is called."""

import base64
import tarfile
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import anyio
import pytest
from support.buckets import environment, filled_bucket
from support.image_files import exif
from support.pictures import encoded, quadrants, smooth
from support.web import Web, reply

from pipeline.errors import ConfigError, ErrorType, ImageError
from pipeline.images.decoders import Decoders
from pipeline.images.fetch import FetchSettings
from pipeline.images.memory import LEAST_ROOM_BYTES
from pipeline.images.prepare import PrepareSettings
from pipeline.images.sources import ImageSource, SourceSettings, root_of, source_name
from pipeline.records import ImageRef

pytestmark = pytest.mark.anyio

PICTURE = encoded(quadrants(), "PNG")
BASE64 = base64.b64encode(PICTURE).decode()


@pytest.fixture
def settings(tmp_path: Path) -> SourceSettings:
    """A root with one picture, and room for it but not for much more."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.png").write_bytes(PICTURE)
    (tmp_path / "secret.png").write_bytes(b"outside")
    return SourceSettings(root, fetch=FetchSettings(max_bytes=2000, attempts=1, allow_private_hosts=True))


async def failure(settings: SourceSettings, ref: ImageRef) -> ImageError:
    """The error that reading ends with."""
    async with ImageSource(settings) as source:
        with pytest.raises(ImageError) as caught:
            await source.read(ref)
    return caught.value


async def test_one_picture_from_everywhere_is_the_same(settings: SourceSettings) -> None:
    """A path, a file URL, a web URL, a data URI in three spellings, and bytes give the same file."""
    spaced = "\n".join(BASE64[at : at + 60] for at in range(0, len(BASE64), 60))
    percent = "".join(f"%{byte:02X}" for byte in PICTURE)
    with Web({"/a.png": reply(PICTURE)}) as web:
        references = [
            "a.png",
            str(settings.root / "a.png"),
            (settings.root / "a.png").as_uri(),
            f"{web.url}/a.png",
            f"HTTP://127.0.0.1:{web.port}/a.png",
            f"data:image/png;base64,{BASE64}",
            f"DATA:image/png;charset=x;BASE64,{spaced}",
            f"data:image/png,{percent}",
        ]
        async with ImageSource(settings) as source:
            for reference in references:
                assert await source.read(ImageRef(reference)) == PICTURE
            assert await source.read(ImageRef("whatever/it/is/called.png", PICTURE)) == PICTURE


async def test_the_roots_hold_for_links_to_the_root_itself(settings: SourceSettings, tmp_path: Path) -> None:
    """A root that is named by a link is the folder it leads to; beside it nothing is read, unless it is allowed."""
    (tmp_path / "link").symlink_to(settings.root)
    linked = SourceSettings(tmp_path / "link", (), settings.fetch)
    async with ImageSource(linked) as source:
        assert await source.read(ImageRef("a.png")) == PICTURE
    assert (await failure(linked, ImageRef("../secret.png"))).error_type == ErrorType.IMAGE_REFUSED
    async with ImageSource(SourceSettings(tmp_path / "link", (tmp_path,), settings.fetch)) as source:
        assert await source.read(ImageRef(str(tmp_path / "secret.png"))) == b"outside"


@pytest.mark.parametrize("kind", ["path", "web", "base64", "percent", "bytes"])
async def test_the_limit_holds_for_every_source(settings: SourceSettings, kind: str) -> None:
    """A file above `images.max_bytes` is too large wherever it comes from."""
    large = b"x" * 2001
    (settings.root / "large.png").write_bytes(large)
    with Web({"/large.png": reply(large)}) as web:
        refs = {
            "path": ImageRef("large.png"),
            "web": ImageRef(f"{web.url}/large.png"),
            "base64": ImageRef(f"data:;base64,{base64.b64encode(large).decode()}"),
            "percent": ImageRef(f"data:,{'%78' * 2001}"),
            "bytes": ImageRef("large.png", large),
        }
        error = await failure(settings, refs[kind])
    assert error.error_type == ErrorType.IMAGE_TOO_LARGE
    assert "images.max_bytes" in str(error)


@pytest.mark.parametrize(
    "uri", ["data:image/png;base64", "data:;base64,AAA", "data:;base64,A*==", "data:;base64,é===", "data:,\udc80"]
)
async def test_a_damaged_data_uri_is_corrupt(settings: SourceSettings, uri: str) -> None:
    """What does not decode costs its row, and the message stays printable."""
    error = await failure(settings, ImageRef(uri))
    assert error.error_type == ErrorType.IMAGE_CORRUPT
    assert str(error).isprintable()


@pytest.mark.parametrize("url", ["ftp://host/a.png?sig=canary", "gopher://x", "s3://user@host/a.png"])
async def test_what_is_not_read_is_refused_by_name(settings: SourceSettings, url: str) -> None:
    """Other protocols, and buckets that could be hosts, are refused as such, not reported as missing files."""
    error = await failure(settings, ImageRef(url))
    assert error.error_type == ErrorType.IMAGE_REFUSED
    assert url.partition("?")[0] in str(error)
    assert "canary" not in str(error)


async def test_members_of_tars_are_read_inside_the_roots(settings: SourceSettings, tmp_path: Path) -> None:
    """A reference with `.tar#` reads the member; the roots and the bytes that are allowed hold as for files."""
    for folder in (settings.root, tmp_path):
        with tarfile.open(folder / "0.tar", "w") as tar:
            tar.add(settings.root / "a.png", "deep/a.png")
            tar.addfile(tarfile.TarInfo("large"), BytesIO())
    async with ImageSource(settings) as source:
        assert await source.read(ImageRef("0.tar#deep/a.png")) == PICTURE
        assert await source.read(ImageRef(f"{settings.root}/0.tar#deep/a.png")) == PICTURE
    assert (await failure(settings, ImageRef("0.tar#a.png"))).error_type == ErrorType.IMAGE_MISSING
    assert (await failure(settings, ImageRef("../0.tar#deep/a.png"))).error_type == ErrorType.IMAGE_REFUSED


async def test_relative_paths_start_in_the_bucket_of_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: SourceSettings
) -> None:
    """Objects and members below the root's folder are read; what leads out of it is refused, local files too."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    tarred = BytesIO()
    with tarfile.open(fileobj=tarred, mode="w") as tar:
        tar.add(settings.root / "a.png", "deep/../a.png")
    objects = {"in/a.png": PICTURE, "in/x/y.png": PICTURE, "in/0.tar": tarred.getvalue(), "secret.png": b"outside"}
    bucket = filled_bucket("rooted", objects)
    chosen = SourceSettings(root_of(f"{bucket}/in"), fetch=settings.fetch)
    assert chosen.root_text == f"{bucket}/in/"
    large = SourceSettings(chosen.root, fetch=FetchSettings(max_bytes=100_000))
    async with ImageSource(large) as source:
        for name in ("a.png", "./a.png", "x/../a.png", "x//y.png", "0.tar#deep/../a.png", f"{bucket}/in/a.png"):
            assert await source.read(ImageRef(name)) == PICTURE, name
        assert await source.read(ImageRef(f"{bucket}/secret.png")) == b"outside", "a URL says where it leads"
    inside = str(settings.root / "a.png")
    for name in ("../secret.png", "x/../../secret.png", "../in2/a.png", inside, Path(inside).as_uri()):
        assert (await failure(chosen, ImageRef(name))).error_type == ErrorType.IMAGE_REFUSED, name
    allowed = SourceSettings(chosen.root, (settings.root,), fetch=settings.fetch)
    async with ImageSource(allowed) as source:
        assert await source.read(ImageRef(inside)) == PICTURE
    assert (await failure(allowed, ImageRef(str(tmp_path / "secret.png")))).error_type == ErrorType.IMAGE_REFUSED


def test_a_root_that_cannot_be_a_bucket_is_refused() -> None:
    """By its key's name, without what may be secret."""
    with pytest.raises(ConfigError, match=r"manifest\.root: found .*allowed: such as") as caught:
        root_of("s3://user:secret@host/x")
    assert "secret" not in str(caught.value)
    assert root_of("photos") == Path("photos")


MIXED_FILES = 1000


def _mixed(count: int) -> dict[str, bytes]:
    """Files of every format, in many sizes and modes, some turned, some shrunk, some that pass, a few broken."""
    files = {}
    for index in range(count):
        name = ("JPEG", "PNG", "WEBP", "GIF", "JPEG", "TIFF", "BMP", "AVIF", "JPEG2000", "JPEG")[index % 10]
        wide = 2400 if index % 100 == 0 else 60 + index % 331
        picture = smooth(wide, 40 + index % 97, index)
        if index % 7 == 3 and name in ("PNG", "JPEG", "TIFF"):
            picture = picture.convert("L")
        options = {"exif": exif(1 + index % 8)} if name in ("JPEG", "WEBP") and index % 3 else {}
        raw = encoded(picture, name, **options)
        files[f"{index:04}.{name.lower()}"] = raw[: len(raw) // 2] if index % 50 == 49 else raw
    return files


async def test_files_from_everywhere_are_prepared_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mixed files from a folder, a tar, a bucket and a web server give the same original and sent hashes."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    files = _mixed(MIXED_FILES)
    for name, raw in files.items():
        (tmp_path / name).write_bytes(raw)
    with tarfile.open(tmp_path / "all.tar", "w") as tar:
        for name in files:
            tar.add(tmp_path / name, name)
    bucket = filled_bucket("everywhere", files | {"all.tar": (tmp_path / "all.tar").read_bytes()})
    with Web({f"/{name}": reply(raw) for name, raw in files.items()}) as web:
        places = ("", "all.tar#", f"{bucket}/", f"{bucket}/all.tar#", f"{web.url}/")
        found = {place: await _prepared(tmp_path, place, files) for place in places}
    first = found.pop("")
    assert sum(isinstance(each, tuple) for each in first.values()) >= len(files) * 0.9
    assert all(other == first for other in found.values())


async def _prepared(root: Path, place: str, names: Iterable[str]) -> dict[str, tuple[str | None, ...] | str]:
    """Original and sent hash of each file, or the type of its failure."""
    found: dict[str, tuple[str | None, ...] | str] = {}
    chosen = SourceSettings(root, fetch=FetchSettings(attempts=1, allow_private_hosts=True))

    async def work(name: str) -> None:
        try:
            raw = await source.read(ImageRef(f"{place}{name}"))
            record = (await decoders.prepare(name, raw, PrepareSettings())).record
            found[name] = record.sha256, record.sent_sha256, str(record.sent_width)
        except ImageError as error:
            found[name] = str(error.error_type)

    async with (
        ImageSource(chosen) as source,
        Decoders(2, LEAST_ROOM_BYTES) as decoders,
        anyio.create_task_group() as group,
    ):
        for name in names:
            group.start_soon(work, name)
    return found


async def test_a_colon_in_a_file_name_is_no_scheme(settings: SourceSettings) -> None:
    """Names such as `2024:01.png` and `s3:a.png` are paths."""
    for name in ("2024:01.png", "s3:a.png", "note:b.png"):
        (settings.root / name).write_bytes(PICTURE)
        async with ImageSource(settings) as source:
            assert await source.read(ImageRef(name)) == PICTURE


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("photos/a b.jpg", "photos/a b.jpg"),
        ("https://user:pw@host/a%20b.jpg?X-Amz-Signature=1#f", "https://host/a%20b.jpg"),
        ("data:image/png;base64,AAAA", "data:image/png;base64,AAAA"),
        ("data:image/png;base64," + "A" * 100, "data:image/png;base64," + "A" * 26 + "..."),
        ("a\udcff.jpg", "a\\udcff.jpg"),
    ],
)
def test_what_an_image_is_called(source: str, name: str) -> None:
    """Paths as written, URLs without what may be secret, data URIs cut, nothing that Parquet cannot hold."""
    assert source_name(ImageRef(source)) == name


def test_a_long_url_keeps_its_path_in_the_dataset() -> None:
    """The name in the dataset is not cut: it must lead back to the picture."""
    assert source_name(ImageRef("https://host/" + "a" * 1000)) == "https://host/" + "a" * 1000
