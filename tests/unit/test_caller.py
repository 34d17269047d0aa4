"""Who calls: the write key in its two places, and the address behind proxies."""

import base64

import pytest

from connector.caller import caller_address, write_key_of

TRUSTED = ("127.0.0.1", " 10.0.0.0/8", "::1", "proxy.example")


@pytest.mark.parametrize(
    ("query", "authorization", "key"),
    [
        ("writeKey=abc", "", "abc"),
        ("writeKey=a-b_c.d~e", "", "a-b_c.d~e"),
        ("a=1&writeKey=abc&b=2", "", "abc"),
        ("writeKey=a%2Bb", "", "a+b"),
        ("write%4Bey=abc", "", "abc"),
        ("x=writeKey", "", ""),
        ("writeKey=%ff", "", "\ufffd"),
        ("", base64.b64encode(b"abc:").decode(), "abc"),
        ("", base64.b64encode(b"abc").decode(), "abc"),
        ("", base64.b64encode(b"abc:pass:word").decode(), "abc"),
        ("writeKey=query", base64.b64encode(b"basic:").decode(), "query"),
        ("writeKey=", base64.b64encode(b"basic:").decode(), "basic"),
    ],
)
def test_the_write_key_is_read_from_the_query_then_from_basic(query: str, authorization: str, key: str) -> None:
    environ = {"QUERY_STRING": query, "HTTP_AUTHORIZATION": f"basic {authorization}" if authorization else ""}

    assert write_key_of(environ) == key


@pytest.mark.parametrize(
    ("remote", "forwarded", "address"),
    [
        ("192.0.2.1", "", "192.0.2.1"),
        ("192.0.2.1", "198.51.100.7", "192.0.2.1"),
        ("127.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("127.0.0.1", "6.6.6.6, 198.51.100.7", "198.51.100.7"),
        ("127.0.0.1", "198.51.100.7, 10.1.2.3", "198.51.100.7"),
        ("127.0.0.1", "nonsense", "127.0.0.1"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("::1", "2001:db8::1", "2001:db8::1"),
        ("", "198.51.100.7", "198.51.100.7"),
    ],
)
def test_only_trusted_proxies_are_believed(remote: str, forwarded: str, address: str) -> None:
    assert caller_address({"REMOTE_ADDR": remote, "HTTP_X_FORWARDED_FOR": forwarded}, TRUSTED) == address
