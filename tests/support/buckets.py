"""A real S3 server (moto) in a process of its own on loopback, one for the whole test run."""

import atexit
import re
import subprocess
import sys
import threading
from functools import cache
from urllib.request import Request, urlopen

import obstore

from pipeline.manifest.objects import ObjectStores, ObjectUrl

__all__ = ["environment", "filled_bucket"]

_RUNNING = re.compile(r"Running on (http://127\.0\.0\.1:\d+)")


@cache
def _endpoint() -> str:
    """Starts the server at the first call; it ends with the test run."""
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    atexit.register(_end, process)
    assert process.stderr is not None
    for line in process.stderr:
        if found := _RUNNING.search(line):
            threading.Thread(target=process.stderr.read, daemon=True).start()  # or a full pipe would stop it
            return found[1]
    raise RuntimeError("the S3 server did not start")


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def environment() -> dict[str, str]:
    """What a user sets to read from the server."""
    return {
        "AWS_ENDPOINT_URL": _endpoint(),
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "us-east-1",
    }


def filled_bucket(name: str, objects: dict[str, bytes]) -> str:
    """A new bucket with these objects, by key; the environment must be set. Returns its URL."""
    urlopen(Request(f"{_endpoint()}/{name}", method="PUT")).close()
    store = ObjectStores().store(ObjectUrl.parse(f"s3://{name}"))
    for key, body in objects.items():
        obstore.put(store, key, body)
    return f"s3://{name}"
