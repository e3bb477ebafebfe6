"""Dialling: what is resolved, judged and connected to."""

import socket

import httpcore
import pytest
from support.web import Detour, Web, resolving

from pipeline.images.dialling import ForbiddenError, GuardedBackend, Resolver, UnresolvedError, resolve

pytestmark = pytest.mark.anyio

PUBLIC = "93.184.216.34"
OTHER = "93.184.216.35"


@pytest.mark.parametrize(
    "addresses",
    [[PUBLIC, "127.0.0.1"], ["127.0.0.1", PUBLIC], [PUBLIC, OTHER, "::ffff:10.0.0.1"], ["169.254.169.254"]],
)
async def test_one_private_address_among_others_refuses_the_host(addresses: list[str]) -> None:
    """A host with mixed records is not asked at all, whichever record stands first."""
    detour = Detour()
    backend = GuardedBackend(resolving(mixed_test=addresses), allow_private=False, dialler=detour)
    with pytest.raises(ForbiddenError):
        await backend.connect_tcp("mixed.test", 80)
    assert detour.dialled == []


async def test_a_name_that_flips_is_never_followed_inside() -> None:
    """In 200 connections to a name that is public at one look-up and loopback at the next, loopback sees none."""
    looks = 0

    async def flipping(host: str, port: int) -> list[str]:
        nonlocal looks
        looks += 1
        return [PUBLIC] if looks % 2 else ["127.0.0.1"]

    with Web({}) as inside:
        detour = Detour()
        backend = GuardedBackend(flipping, allow_private=False, dialler=detour)
        for _ in range(200):
            with pytest.raises((httpcore.ConnectError, ForbiddenError)):
                await backend.connect_tcp("flip.test", inside.port)
        assert inside.connections == 0
    assert looks == 200
    assert detour.dialled == [PUBLIC] * 100


async def test_the_next_address_is_tried_where_one_does_not_answer() -> None:
    """A host with a dead address and a live one is reached."""
    with Web({}) as web:
        detour = Detour({OTHER: web.port})
        backend = GuardedBackend(resolving(two_test=[PUBLIC, OTHER]), allow_private=False, dialler=detour)
        stream = await backend.connect_tcp("two.test", 80)
        await stream.aclose()
    assert detour.dialled == [PUBLIC, OTHER]


@pytest.mark.parametrize(("code", "passing"), [(socket.EAI_NONAME, False), (socket.EAI_AGAIN, True)])
async def test_a_missing_name_is_told_from_a_failing_resolver(code: int, *, passing: bool) -> None:
    """No such name is final; a resolver that cannot say is worth another try."""

    async def failing(host: str, port: int) -> list[str]:
        raise socket.gaierror(code, "says the resolver")

    with pytest.raises(UnresolvedError) as caught:
        await GuardedBackend(failing, allow_private=True).connect_tcp("gone.test", 80)
    assert caught.value.passing is passing


async def test_a_host_without_addresses_does_not_resolve() -> None:
    """An empty answer of the resolver is an error with a name, with private hosts allowed as well."""
    with pytest.raises(UnresolvedError):
        await GuardedBackend(resolving(), allow_private=True).connect_tcp("empty.test", 80)


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "::1", "0.0.0.0"])
async def test_the_systems_resolver_sees_through_unusual_spellings(host: str) -> None:
    """Decimal, octal, hexadecimal and short spellings of loopback are judged by the address that they mean."""
    detour = Detour()
    used: Resolver = resolve
    with pytest.raises((ForbiddenError, UnresolvedError)):
        await GuardedBackend(used, allow_private=False, dialler=detour).connect_tcp(host, 80)
    assert detour.dialled == []
