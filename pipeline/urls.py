"""URLs that the configuration names: the service's base URL, and what of any URL may be shown. Pure.

A base URL carries no `/v1`: paths do (`messages-api.md` 1.1). One that ends in `/v1` or `/v1/messages`, as other
programs want it, is understood.
"""

import re
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit, urlunsplit

__all__ = ["EMBEDDED", "is_on_this_machine", "is_plain_http_abroad", "masked_url", "service_url"]

EMBEDDED = "embedded"
"""As `api.base_url`: the stand-in, started inside the run."""
_MASK = "***"
_USER = re.compile(r"^((?:[A-Za-z][A-Za-z0-9+.-]*:)?//)?[^/?#]*@")
_QUERY = re.compile(r"[?#].*", re.DOTALL)
_VERSION_PATH = re.compile(r"/v1(/messages)?$")


def service_url(text: str) -> str:
    """A base URL without trailing `/`, `/v1` or `/v1/messages`; `EMBEDDED` as it is.

    Raises:
        ValueError: it is no http or https URL; the message says what is allowed.
    """
    text = text.strip()
    if text == EMBEDDED:
        return text
    try:
        parts = urlsplit(text)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole or not text.isprintable() or " " in text or "\\" in text:
        raise ValueError(f'allowed: {_likely(text)}a URL such as "https://host" or "http://host:8000", or "{EMBEDDED}"')
    if parts.query or parts.fragment:
        raise ValueError("allowed: a URL without ? and #; what goes with every request belongs in api.headers")
    path = _VERSION_PATH.sub("", parts.path.rstrip("/")).rstrip("/")
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def is_plain_http_abroad(url: str) -> bool:
    """Whether the key and the images would cross a network in the clear: plain http to a host that is not loopback."""
    return urlsplit(url).scheme == "http" and not is_on_this_machine(url)


def is_on_this_machine(url: str) -> bool:
    """Whether the URL's host is loopback, or the embedded endpoint."""
    return url == EMBEDDED or _is_loopback(urlsplit(url).hostname or "")


def masked_url(text: str) -> str:
    """The URL without what may be secret: user and password, query and fragment."""
    return _QUERY.sub(f"?{_MASK}", _USER.sub(rf"\g<1>{_MASK}@", text))


def _likely(text: str) -> str:
    """What was probably meant by a host without a scheme."""
    if re.fullmatch(r"[A-Za-z0-9.-]+(:\d{1,5})?(/[^\s?#@]*)?", text) and ("." in text or ":" in text):
        return f'"http://{text}" or "https://{text}", '
    return ""


def _is_loopback(host: str) -> bool:
    name = host.rstrip(".").lower()
    try:
        address = ip_address(name)
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback
