"""Who may come in to `pipeline view`; tokens and cookies are tested over its socket in `test_view`."""

import pytest

from pipeline.faces.doorkeeper import Doorkeeper


@pytest.mark.parametrize(
    ("host", "header", "known"),
    [
        ("127.0.0.1", "127.0.0.1:80", True),
        ("127.0.0.1", "localhost:80", True),
        ("127.0.0.1", "localhost", True),
        ("127.0.0.1", "[::1]:80", True),
        ("127.0.0.1", "192.0.2.7:80", False),
        ("127.0.0.1", "evil.example:80", False),
        ("127.0.0.1", "user@127.0.0.1:80", False),
        ("127.0.0.1", "127.0.0.1:80/x", False),
        ("127.0.0.1", "127.0.0.1:x", False),
        ("127.0.0.1", "", False),
        ("0.0.0.0", "192.0.2.7:80", True),
        ("0.0.0.0", "evil.example:80", False),
        ("studio.local", "studio.local:80", True),
        ("studio.local", "STUDIO.local:80", True),
        ("studio.local", "evil.example:80", False),
    ],
)
def test_names_that_it_goes_by(host: str, header: str, known: bool) -> None:
    """Its own, this machine's, and an address where it listens to others: a name that leads here is none of them."""
    assert Doorkeeper(host, 80).knows_host(header) is known


def test_tokens_are_of_one_server() -> None:
    """Long, random, and two of a kind."""
    one, other = Doorkeeper("127.0.0.1", 80), Doorkeeper("127.0.0.1", 80)
    assert len({one.token, one.review_token, other.token, other.review_token}) == 4
    assert min(len(one.token), len(one.review_token)) >= 43
