"""Which network addresses an image may be fetched from: pure rules over `ipaddress`.

Only global unicast addresses pass. An IPv6 address that carries an IPv4 one inside (mapped, 6to4, NAT64, Teredo) is
judged by both.
"""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

__all__ = ["is_public"]

_NAT64 = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
_COMPATIBLE = IPv6Network("::/96")


def is_public(text: str) -> bool:
    """Whether an address, as the resolver gave it, is one that anybody may talk to."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if "%" in text:
        return False
    return all(_is_global(part) for part in (address, *_embedded(address)))


def _is_global(address: IPv4Address | IPv6Address) -> bool:
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not address.is_unspecified
        and not address.is_loopback
        and not address.is_link_local
    )


def _embedded(address: IPv4Address | IPv6Address) -> list[IPv4Address]:
    if isinstance(address, IPv4Address):
        return []
    found = [part for part in (address.ipv4_mapped, address.sixtofour) if part is not None]
    if address.teredo is not None:
        found += list(address.teredo)
    if address in _COMPATIBLE or any(address in network for network in _NAT64):
        found.append(IPv4Address(int(address) & 0xFFFFFFFF))
    return found
