"""A Ray cluster of one node on this machine, as real processes of its own that end with the block that asked for it."""

import importlib.util
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["HAS_RAY", "RayCluster", "ray_cluster"]

HAS_RAY = importlib.util.find_spec("ray") is not None
_PATIENCE_S = 90


@dataclass(frozen=True)
class RayCluster:
    """One cluster.

    Attributes:
        environ: by which a program finds it and may enter.
        folder: where Ray writes its logs and sockets.
        pid: of the process that all of its processes stand under or beside, in a session of their own.
    """

    environ: dict[str, str]
    folder: Path
    pid: int

    def processes(self, title: str) -> list[int]:
        """Ids of the cluster's processes whose title begins so, such as `ray::shard`."""
        found = []
        for place in Path("/proc").iterdir():
            if not place.name.isdigit():
                continue
            with suppress(OSError):
                words = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if words.startswith(title) and os.getsid(int(place.name)) == self.pid:
                    found.append(int(place.name))
        return sorted(found)

    def knowing(self, secret: str) -> list[str]:
        """Of the processes that serve Ray's state and dashboard, those that have the secret in their memory."""
        found = []
        for place in Path("/proc").iterdir():
            if not place.name.isdigit():
                continue
            with suppress(OSError):
                name = (place / "exe").readlink().name
                if name in ("gcs_server", "raylet") and os.getsid(int(place.name)) == self.pid:
                    found += [name] if _holds(place, secret.encode()) else []
        return found

    def kill(self, pid: int) -> None:
        """Kills one of them."""
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@contextmanager
def ray_cluster(cpus: int) -> Iterator[RayCluster]:
    """A cluster of so many CPUs, whatever the machine has, whose access token nobody else knows."""
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    hidden = {"ANTHROPIC_API_KEY", "RAY_ADDRESS"}
    environ = {name: value for name, value in os.environ.items() if name not in hidden} | token
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        options = ["--head", "--block", f"--port={port}", f"--num-cpus={cpus}", "--include-dashboard=false"]
        options += ["--object-store-memory=80000000", f"--temp-dir={folder}", "--disable-usage-stats"]
        command = [str(Path(sys.executable).with_name("ray")), "start", *options]
        log = Path(folder) / "start.log"
        with log.open("w") as out:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environ, start_new_session=True
            )
        found = RayCluster({**token, "RAY_ADDRESS": f"127.0.0.1:{port}"}, Path(folder), process.pid)
        try:
            _await(process, log)
            yield found
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            end = time.monotonic() + _PATIENCE_S
            while (left := found.processes("ray::")) and time.monotonic() < end:  # workers end with their node
                time.sleep(0.05)
            for pid in left:
                found.kill(pid)


def _holds(place: Path, secret: bytes) -> bool:
    with (place / "mem").open("rb", buffering=0) as memory:
        for line in (place / "maps").read_text().splitlines():
            span, rights, *_ = line.split()
            if not rights.startswith("rw"):
                continue
            begin, end = (int(part, 16) for part in span.split("-"))
            with suppress(OSError, OverflowError):  # a region that went, or that the kernel keeps to itself
                memory.seek(begin)
                if secret in memory.read(end - begin):
                    return True
    return False


def _await(process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _PATIENCE_S
    while "block forever" not in log.read_text(errors="replace"):
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"Ray did not start: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
