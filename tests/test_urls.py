"""URLs: what a base URL may be, when it needs permission, and what of it is shown."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.urls import is_plain_http_abroad, masked_url, service_url


@pytest.mark.parametrize(
    ("given_url", "base"),
    [
        ("https://api.anthropic.com", "https://api.anthropic.com"),
        ("https://api.anthropic.com/", "https://api.anthropic.com"),
        ("https://api.anthropic.com/v1", "https://api.anthropic.com"),
        ("https://api.anthropic.com/v1//", "https://api.anthropic.com"),
        ("https://api.anthropic.com/v1/messages", "https://api.anthropic.com"),
        ("https://gateway.example/anthropic/v1/", "https://gateway.example/anthropic"),
        ("https://gateway.example/v1x", "https://gateway.example/v1x"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        (" https://host\n", "https://host"),
        ("HTTPS://Host/A", "https://Host/A"),
        ("https://user:pw@host", "https://user:pw@host"),
        ("embedded", "embedded"),
    ],
)
def test_a_base_url_is_brought_into_one_form(given_url: str, base: str) -> None:
    """A trailing slash, `/v1` or `/v1/messages` is dropped, everything else is kept; twice is the same as once."""
    assert service_url(given_url) == base
    assert service_url(base) == base


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host",
        "localhost:8000",
        "//host",
        "http:host",
        "http://",
        "https://:443",
        "ftp://host",
        "file:///etc/passwd",
        "http://host:port",
        "http://host:0",
        "http://host:99999",
        "http://[::1",
        "http://ho st",
        "http://host/\x1b[31m",
        "http://evil\\@host",
        "Embedded",
        "https://host?a=1",
        "https://host/#part",
    ],
)
def test_what_is_no_base_url_is_refused(text: str) -> None:
    """Nothing that could not be asked passes, and the error says what may stand there."""
    with pytest.raises(ValueError, match="allowed: "):
        service_url(text)


@pytest.mark.parametrize("text", ["localhost:8000", "gateway.example/anthropic", "127.0.0.1:80"])
def test_a_missing_scheme_is_explained(text: str) -> None:
    """A host alone is answered with the URLs that it may stand for."""
    with pytest.raises(ValueError, match=f'"http://{text}" or "https://{text}"'):
        service_url(text)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "http://localhost",
        "http://LOCALHOST:80",
        "http://localhost.:80",
        "http://api.localhost",
        "http://127.0.0.1:8000",
        "http://127.9.9.9",
        "http://[::1]:8000",
        "http://[::ffff:127.0.0.1]",
        "embedded",
    ],
)
def test_encrypted_and_local_is_fine(url: str) -> None:
    """Encrypted to anywhere, and plain http that stays on this machine."""
    assert not is_plain_http_abroad(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "http://10.0.0.1",
        "http://0.0.0.0",
        "http://[::]",
        "http://[2001:db8::1]",
        "http://localhost.example.com",
        "http://mylocalhost",
        "http://localhost@example.com",
        "http://127.0.0.1.example.com",
    ],
)
def test_in_the_clear_to_another_host_is_told(url: str) -> None:
    """Plain http that leaves this machine, names that only look local included."""
    assert is_plain_http_abroad(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://host/path", "https://host/path"),
        ("https://user:pw@host/path", "https://***@host/path"),
        ("https://user:p@w@host/", "https://***@host/"),
        ("https://host/a@b", "https://host/a@b"),
        ("https://host/?sig=1#x", "https://host/?***"),
        ("//user@host", "//***@host"),
        ("user:pw@host", "***@host"),
        ("http://user:pw@[bad", "http://***@[bad"),
        ("photos/a.jpg", "photos/a.jpg"),
    ],
)
def test_what_may_be_secret_is_masked(url: str, shown: str) -> None:
    """User, password, query and fragment are hidden, in URLs that are malformed too."""
    assert masked_url(url) == shown


@given(st.text(alphabet="htps:/@?#[]ab.\\\n", max_size=30))
@settings(deadline=None, max_examples=300)
def test_a_url_that_passes_can_be_judged_and_masked(text: str) -> None:
    """Whatever passes as a base URL never breaks the checks after it, and is in its final form."""
    try:
        base = service_url(text)
    except ValueError:
        return
    is_plain_http_abroad(base)
    assert service_url(base) == base
    assert "?" not in masked_url(base)
