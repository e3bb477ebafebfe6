"""Which network addresses an image may be fetched from: pure rules over `ipaddress`.

Only global unicast addresses pass. An IPv6 address that stands for an IPv4 one (mapped, NAT64: in a network without
IPv4 every address looks like that) is judged by that one, a tunnel to an IPv4 one (6to4, Teredo) by both.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

__all__ = ["is_public"]

_NAT64 = IPv6Network("64:ff9b::/96")
_REFUSED_4 = (
    # The rules of `ipaddress` differ between Python releases (gh-113171); these hold in all of them.
    IPv4Network("192.0.0.0/24"),  # protocol assignments; 192.0.0.192 is a cloud's metadata service
    IPv4Network("192.88.99.0/24"),  # 6to4 relays, deprecated by RFC 7526
    IPv4Network("168.63.129.16/32"),  # a cloud's host agent behind a public number
)
_REFUSED_6 = (
    IPv6Network("64:ff9b:1::/48"),  # local-use NAT64, RFC 8215: where its IPv4 address stands is a local choice
    IPv6Network("fec0::/10"),  # site-local, deprecated by RFC 3879 and still routed by some
    IPv6Network("3fff::/20"),  # documentation, RFC 9637
    IPv6Network("5f00::/16"),  # segment routing, RFC 9602
)


def is_public(text: str) -> bool:
    """Whether an address, as the resolver gave it, is one that anybody may talk to."""
    if "%" in text:  # a zone: the address means something on one link alone
        return False
    try:
        address = ip_address(text)
    except ValueError:
        return False
    return all(_is_global(part) for part in _judged(address))


def _is_global(address: IPv4Address | IPv6Address) -> bool:
    refused = _REFUSED_4 if isinstance(address, IPv4Address) else _REFUSED_6
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not address.is_unspecified
        and not address.is_loopback
        and not address.is_link_local
        and not any(address in network for network in refused)
    )


def _judged(address: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address in _NAT64:
        return [IPv4Address(int(address) & 0xFFFFFFFF)]
    tunnelled = [address.sixtofour] if address.sixtofour is not None else list(address.teredo or ())
    return [address, *tunnelled]
