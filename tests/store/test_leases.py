"""Leases: who may write an output in an object store."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from support.bad_bucket import BadBucket
from support.buckets import environment, filled_bucket

from pipeline.errors import OutputHeldError
from pipeline.store.buckets import BucketPath
from pipeline.store.leases import Lease, recent_parts
from pipeline.store.shards import Shard

SHORT_S = 1.0


@pytest.fixture
def bad(monkeypatch: pytest.MonkeyPatch) -> Iterator[BadBucket]:
    """The server, with a proxy before it that does as it is told."""
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    with BadBucket(environment()["AWS_ENDPOINT_URL"]) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy


@pytest.fixture
def url(bad: BadBucket) -> str:
    """An empty output."""
    return filled_bucket(f"l-{uuid4().hex}", {})


class Machine:
    """One machine: a state folder of its own."""

    def __init__(self, url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._url, self._folder, self._patch = url, folder, monkeypatch

    def lease(self, shard: Shard | None = None, lease_s: float = 60) -> Lease:
        """A lease that this machine wants."""
        self._patch.setenv("XDG_STATE_HOME", str(self._folder))
        return Lease(BucketPath.parse(self._url), shard, lease_s=lease_s)


@pytest.fixture
def machines(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Machine, Machine]:
    """Two of them."""
    one, two = (Machine(url, tmp_path / name, monkeypatch) for name in "ab")
    return one, two


def body(url: str) -> dict[str, object]:
    """The lease as it stands in the store."""
    found: dict[str, object] = json.loads((BucketPath.parse(url) / "_state" / "lock.json").read_bytes())
    return found


def abandon(lease: Lease) -> None:
    """What a machine leaves that dies: a lease that is neither renewed nor let go."""
    lease.__enter__()
    lease._ended.set()


def test_a_second_machine_is_refused_while_the_first_is_alive(machines: tuple[Machine, Machine]) -> None:
    """With exit code 75, naming the output; afterwards it may."""
    one, two = machines
    with one.lease(), pytest.raises(OutputHeldError, match="another machine holds this output") as caught, two.lease():
        pytest.fail("held twice")
    assert caught.value.exit_code == 75
    with two.lease():
        pass
    with one.lease():
        pass


def test_a_machine_finds_its_own_lease_after_a_kill(machines: tuple[Machine, Machine]) -> None:
    """The local lock has shown that the run is dead, so nobody waits for the lease to run out."""
    one, _ = machines
    abandon(one.lease())
    with one.lease():
        pass


def test_a_lease_that_is_not_renewed_runs_out(machines: tuple[Machine, Machine], url: str) -> None:
    """A machine that died lets go after a while; what it put last stays named."""
    one, two = machines
    dead = one.lease(lease_s=SHORT_S)
    abandon(dead)
    dead.renew("results/part-1.parquet")
    for _ in range(200):
        try:
            with two.lease(lease_s=SHORT_S):
                assert list(recent_parts(BucketPath.parse(url))) == ["results/part-1.parquet"]
            break
        except OutputHeldError:
            threading.Event().wait(0.05)
    else:
        pytest.fail("it never ran out")
    with pytest.raises(OSError, match="taken it over"):
        dead.renew()


def test_a_holder_that_lost_its_lease_puts_nothing_more(machines: tuple[Machine, Machine], url: str) -> None:
    """The part's name goes into the lease first, and that fails."""
    one, two = machines
    output = BucketPath.parse(url)
    with Lease(output) as held:
        (output / "results" / "part-1.parquet").write(b"1")
        (output / "_state" / "lock.json").pinned().unlink()
        with two.lease():
            with pytest.raises(OSError, match="taken it over"):
                (output / "results" / "part-2.parquet").write(b"2")
            with pytest.raises(OSError, match="taken it over"):
                held.renew()
    assert not (BucketPath.parse(url) / "results" / "part-2.parquet").is_file()
    with one.lease():
        pass


def test_the_lease_is_renewed_while_it_is_held(machines: tuple[Machine, Machine], url: str) -> None:
    """Whoever waits longer than a lease finds it alive."""
    one, two = machines
    with one.lease(lease_s=SHORT_S):
        first = body(url)["beat"]
        while int(str(body(url)["beat"])) < int(str(first)) + 4:  # a third of a lease each
            threading.Event().wait(0.02)
        with pytest.raises(OutputHeldError), two.lease(lease_s=SHORT_S):
            pytest.fail("it ran out while it was held")
    assert body(url)["released"] is True


def test_shards_of_one_n_hold_an_output_together_and_nobody_else(machines: tuple[Machine, Machine]) -> None:
    """Another N, the same shard, and a run without shards are refused."""
    one, two = machines
    with one.lease(Shard(1, 2)):
        with two.lease(Shard(2, 2)):
            pass
        for other in (Shard(1, 2), Shard(1, 4), None):
            with pytest.raises(OutputHeldError, match="shard 1/2 of this output"), two.lease(other):
                pytest.fail("went with a shard that it shares items with")
    with two.lease(), pytest.raises(OutputHeldError), one.lease(Shard(1, 2)):
        pytest.fail("went with a run without shards")


@pytest.mark.parametrize("fault", ["slow_down", "cut", "unheard"])
def test_a_lease_survives_a_store_that_stumbles(machines: tuple[Machine, Machine], bad: BadBucket, fault: str) -> None:
    """An answer that is lost on its way is no other holder."""
    one, two = machines
    with one.lease() as lease:
        for _ in range(3):
            setattr(bad, fault, 1)
            lease.renew("results/part-1.parquet")
        with pytest.raises(OutputHeldError), two.lease():
            pytest.fail("it was lost")


def test_a_lease_that_cannot_be_read_is_waited_for(machines: tuple[Machine, Machine], url: str) -> None:
    """Somebody wrote it a moment ago; it runs out like any other."""
    one, _ = machines
    BucketPath.parse(url).__truediv__("_state").__truediv__("lock.json").write(b"{half")
    with pytest.raises(OutputHeldError), one.lease():
        pytest.fail("taken")
    with one.lease(lease_s=-60):
        pass
