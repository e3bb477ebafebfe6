"""Who may come in to `pipeline view`, and by which names.

The address that is printed holds a random token; it is exchanged for a cookie of this port that scripts cannot read
and other sites cannot have sent, and leaves the address bar. Every other request needs the cookie. The `Host` header
must name this machine as the user does, so that a foreign name that is made to lead here (DNS rebinding) gets nothing.
A review needs, besides, a second token that only the page knows, in a header that no form and no other site's script
can send.
"""

import hmac
import ipaddress
import secrets
from urllib.parse import urlsplit

from starlette.requests import Request

__all__ = ["Doorkeeper"]

_CSRF = "x-review-token"


class Doorkeeper:
    """Who may come in, and by which names.

    Args:
        host: the address that is listened on, or the name that was given for it.
        port: the one that is listened on.

    Attributes:
        token: what the printed address holds.
        review_token: what the page sends with a review.
    """

    def __init__(self, host: str, port: int) -> None:
        self.token = secrets.token_urlsafe(32)
        self.review_token = secrets.token_urlsafe(32)
        self.cookie = f"pipeline_view_{port}"
        self._port = port
        self._host = host.lower()
        self._is_local = self._host == "localhost" or _is_loopback(self._host)

    def knows_host(self, header: str) -> bool:
        """Whether a `Host` header names this server: its host, and by an address where it listens to others too."""
        try:
            parts = urlsplit(f"//{header}")
            host, port = (parts.hostname or "").lower(), parts.port or 80
        except ValueError:
            return False
        if port != self._port or parts.username is not None or parts.path:
            return False
        if host in ("localhost", self._host) or _is_loopback(host):
            return True
        return not self._is_local and _is_address(host)

    def has_token(self, request: Request) -> bool:
        """Whether a request comes with the address that was printed."""
        return _same(request.query_params.get("token", ""), self.token)

    def has_cookie(self, request: Request) -> bool:
        """Whether a request comes from a browser that was let in."""
        return _same(request.cookies.get(self.cookie, ""), self.token)

    def may_review(self, request: Request) -> bool:
        """Whether it comes from our own page."""
        origin = request.headers.get("origin")
        from_here = origin is None or urlsplit(origin).netloc == request.headers.get("host", "")
        return from_here and _same(request.headers.get(_CSRF, ""), self.review_token)


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return _is_address(host) and ipaddress.ip_address(host).is_loopback
