"""Images a second from 12-megapixel JPEGs on disk to Parquet: ours against the script that everyone writes.

The script opens each picture with Pillow, turns and shrinks it, calls the official SDK in a loop with a semaphore of
64, and writes one data frame at the end. Both ask the same unlimited stand-in in another process, one after the other,
whose answers take a tenth of a second; time is wall time of a fresh process, start included. Ours keeps every answer
durable on the way.

Run as `python -m benchmarks.bench_endtoend [IMAGES]`.
"""

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.serving import MODEL, answers, environment, photograph, served

PHOTOS = 6
SIZE = (4000, 3000)
SCRIPT = """
import asyncio, base64, io, sys
import anthropic, pandas
from PIL import Image, ImageOps

folder, url, out = sys.argv[1:]
rows = pandas.read_csv(f"{folder}/photos.csv")

def prepared(path):
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    image.thumbnail((1568, 1568), Image.Resampling.LANCZOS)
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=85)
    return base64.b64encode(sink.getvalue()).decode()

async def main():
    client = anthropic.AsyncAnthropic(base_url=url)
    free = asyncio.Semaphore(64)

    async def one(row):
        async with free:
            source = {"type": "base64", "media_type": "image/jpeg", "data": prepared(f"{folder}/{row.image}")}
            text = f"Describe picture {row.id} in one sentence."
            content = [{"type": "image", "source": source}, {"type": "text", "text": text}]
            said = await client.messages.create(
                model="MODEL", max_tokens=300, messages=[{"role": "user", "content": content}]
            )
            return {"id": row.id, "caption": said.content[0].text, "tokens": said.usage.output_tokens}

    captions = await asyncio.gather(*(one(row) for row in rows.itertuples()))
    pandas.DataFrame(captions).to_parquet(out)

asyncio.run(main())
""".replace("MODEL", MODEL)
CONFIG = """
[manifest]
path = {path}
[api]
base_url = {url}
model = "{model}"
max_tokens = 300
[prompt]
user = "Describe picture {{{{ id }}}} in one sentence."
[output]
path = {out}
"""


def pictures(folder: Path, images: int) -> None:
    """Six photographs of 12 megapixels under many names, and the manifest: the file system holds each once."""
    for number in range(PHOTOS):
        (folder / f"photo-{number}.jpg").write_bytes(photograph(*SIZE, number, 88))
    with (folder / "photos.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "image"])
        for number in range(images):
            os.link(folder / f"photo-{number % PHOTOS}.jpg", folder / f"item-{number}.jpg")
            rows.writerow([f"item-{number}", f"item-{number}.jpg"])


def seconds_of(command: list[str]) -> float:
    """Wall time of a process that ends well."""
    began = time.monotonic()
    subprocess.run(command, check=True, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - began


def main() -> None:
    """Prints the table."""
    images = int(sys.argv[1]) if len(sys.argv) > 1 else 120
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        pictures(folder, images)
        took = {}
        for name in ("script", "ours"):
            log = folder / f"{name}.jsonl"
            with served(log, "--latency", "0.1") as url:
                if name == "script":
                    (folder / "script.py").write_text(SCRIPT)
                    out = folder / "captions.parquet"
                    took[name] = seconds_of([sys.executable, str(folder / "script.py"), place, url, str(out)])
                    rows = pq.read_table(out).num_rows
                else:
                    texts = {"path": folder / "photos.csv", "url": url, "out": folder / "out"}
                    quoted = {key: json.dumps(str(value)) for key, value in texts.items()}
                    (folder / "job.toml").write_text(CONFIG.format(model=MODEL, **quoted))
                    took[name] = seconds_of([sys.executable, "-m", "pipeline", "run", str(folder / "job.toml")])
                    rows = pq.read_table(folder / "out" / "results").num_rows
                if rows != images or len(answers(log)) != images:
                    raise RuntimeError(f"{name}: {rows} rows and {len(answers(log))} answers for {images} images")
        print(f"{images} JPEGs of {SIZE[0] * SIZE[1] / 1e6:.0f} megapixels, {os.cpu_count()} cores")
        print(f"{'':<10}{'seconds':>10}{'images/s':>10}{'ratio':>8}")
        for name, seconds in took.items():
            print(f"{name:<10}{seconds:>10.1f}{images / seconds:>10.1f}{took['script'] / seconds:>8.2f}")


if __name__ == "__main__":
    main()
