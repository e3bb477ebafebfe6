"""Which image URLs the service can be told to fetch itself: https, and public as far as the URL alone can say. Pure.

A name that resolves to a private address passes here; the service's own fetch fails then, and the image is sent whole.
"""

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from pipeline.images.addresses import is_public

__all__ = ["is_linkable"]

_LOCAL_SUFFIXES = (".local", ".localhost", ".internal", ".lan", ".home.arpa", ".test", ".invalid", ".onion")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*", re.ASCII)


def is_linkable(source: str) -> bool:
    """Whether a reference is a URL that can be handed over; a URL with credentials in it never is."""
    if any(character.isspace() or not character.isprintable() for character in source):
        return False
    try:
        parts = urlsplit(source)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError:
        return False
    if parts.scheme.lower() != "https" or parts.username is not None or port == 0:
        return False
    return _is_public_host(host)


def _is_public_host(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        last = host.rpartition(".")[2]
        is_address_in_disguise = _NUMBER.fullmatch(last) is not None  # 127.1, 0x7f.1: no name ends in a number
        return "." in host and not is_address_in_disguise and not host.endswith(_LOCAL_SUFFIXES)
    return is_public(host)
