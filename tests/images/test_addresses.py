"""Addresses: which ones an image may be fetched from."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.images.addresses import is_public

PRIVATE_V4 = [
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.168.1.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
]
PRIVATE_V6 = [
    "::",
    "::1",
    "::127.0.0.1",
    "64:ff9b:1::808:808",
    "100::1",
    "2001:db8::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]


@pytest.mark.parametrize("address", PRIVATE_V4 + PRIVATE_V6)
def test_an_address_that_is_not_for_everybody_is_refused(address: str) -> None:
    """Private, loopback, link-local, metadata, shared, documentation, multicast and reserved addresses do not pass."""
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "2a00:1450:4001::200e"])
def test_a_global_address_passes(address: str) -> None:
    """An ordinary web server's address is public."""
    assert is_public(address)


@pytest.mark.parametrize("text", ["", "localhost", "2130706433", "0x7f000001", "127.1", "8.8.8.8 ", "8.8.8.8%eth0"])
def test_what_is_no_plain_address_is_refused(text: str) -> None:
    """Only what the resolver gives, a plain address, can be judged; anything else does not pass."""
    assert not is_public(text)


@pytest.mark.parametrize("inner", PRIVATE_V4)
def test_an_ipv6_address_around_a_private_one_is_refused(inner: str) -> None:
    """Mapped, NAT64, 6to4 and Teredo spellings of a private IPv4 address do not pass."""
    number = int(IPv4Address(inner))
    wrapped = [
        0xFFFF << 32 | number,
        int(IPv6Address("64:ff9b::")) | number,
        0x2002 << 112 | number << 80 | 1,
        0x20010000 << 96 | int(IPv4Address("8.8.8.8")) << 64 | (number ^ 0xFFFFFFFF),
    ]
    assert [str(IPv6Address(each)) for each in wrapped if is_public(str(IPv6Address(each)))] == []


def test_a_network_without_ipv4_can_fetch() -> None:
    """Public IPv4 hosts, as DNS64 shows them to a network without IPv4, pass."""
    assert is_public("64:ff9b::5db8:d822")
    assert is_public("::ffff:93.184.216.34")


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=200)
def test_a_spelling_never_opens_more_than_the_plain_address(number: int) -> None:
    """No wrapping of an IPv4 address passes where the address itself does not."""
    plain = is_public(str(IPv4Address(number)))
    for wrapped in (0xFFFF << 32 | number, int(IPv6Address("64:ff9b::")) | number, 0x2002 << 112 | number << 80):
        assert not is_public(str(IPv6Address(wrapped))) or plain
