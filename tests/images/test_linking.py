"""Which URLs the service may be told to fetch."""

import pytest

from pipeline.images.linking import is_linkable


@pytest.mark.parametrize(
    "source",
    [
        "https://example.com/a.jpg",
        "HTTPS://example.com/a.jpg?signature=x%20y#part",
        "https://93.184.216.34/a.jpg",
        "https://[2606:2800:220:1::1]/a.jpg",
        "https://example.com:8443/a.jpg",
        "https://xn--bcher-kva.example.org/ä.jpg",
        "https://example.com./a.jpg",
    ],
)
def test_public_https_is_handed_over(source: str) -> None:
    """As far as the URL alone can say."""
    assert is_linkable(source)


@pytest.mark.parametrize(
    "source",
    [
        "http://example.com/a.jpg",
        "ftp://example.com/a.jpg",
        "photos/a.jpg",
        "/etc/passwd",
        "data:image/png;base64,AAAA",
        "https:///a.jpg",
        "https://localhost/a.jpg",
        "https://intranet/a.jpg",
        "https://printer.local/a.jpg",
        "https://db.internal/a.jpg",
        "https://127.0.0.1/a.jpg",
        "https://10.1.2.3/a.jpg",
        "https://169.254.169.254/latest",
        "https://[::1]/a.jpg",
        "https://[::ffff:10.0.0.1]/a.jpg",
        "https://2130706433/a.jpg",
        "https://127.1/a.jpg",
        "https://0x7f.0.0.1/a.jpg",
        "https://10.0.0.0x1/a.jpg",
        "https://user:secret@example.com/a.jpg",
        "https://example.com:0/a.jpg",
        "https://example.com:99999/a.jpg",
        "https://[bad/a.jpg",
        "https://example.com/a b.jpg",
        "https://example.com/\n.jpg",
    ],
)
def test_everything_else_is_not(source: str) -> None:
    """Plain http, private and unusual addresses, local names, credentials, and what is no URL."""
    assert not is_linkable(source)
