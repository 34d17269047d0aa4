"""Who calls, as the request itself says: its write key and its address. Nothing is believed here, only read."""

import base64
import binascii
import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

QUERY_NAME = "writeKey"
ONLY_A_KEY = re.compile(r"writeKey=([A-Za-z0-9_.~-]+)")  # what nearly every query looks like; needs no parsing


def write_key_of(environ: Mapping[str, Any]) -> str:
    """The first `writeKey` of the query, else the user name of HTTP Basic; "" when there is neither."""
    query: str = environ.get("QUERY_STRING", "")
    plain = ONLY_A_KEY.fullmatch(query)
    if plain is not None:
        return plain[1]
    if QUERY_NAME in query or "%" in query:
        for name, value in parse_qsl(query, keep_blank_values=True):
            if name == QUERY_NAME:
                if value:
                    return value
                break
    return _basic_user_name(environ.get("HTTP_AUTHORIZATION", ""))


def _basic_user_name(authorization: str) -> str:
    scheme, _, credentials = authorization.strip().partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        decoded = base64.b64decode(credentials.strip(), validate=True)
    except (binascii.Error, ValueError):
        return ""
    return decoded.partition(b":")[0].decode("utf-8", "replace")


def caller_address(environ: Mapping[str, Any], trusted_proxies: Sequence[str]) -> str:
    """The address of whoever called; X-Forwarded-For is believed as far as trusted proxies wrote it."""
    address = str(environ.get("REMOTE_ADDR", ""))
    hops = [hop.strip() for hop in environ.get("HTTP_X_FORWARDED_FOR", "").split(",")]
    while hops and _is_trusted(address, trusted_proxies):
        hop = hops.pop()
        if not _is_address(hop):
            break
        address = hop
    return address


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_trusted(address: str, trusted_proxies: Sequence[str]) -> bool:
    if "*" in trusted_proxies:
        return True
    if not _is_address(address):
        return address == ""  # a unix socket: only a local proxy can reach it
    return any(_is_within(address, proxy.strip()) for proxy in trusted_proxies)


def _is_within(address: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(network, strict=False)
    except ValueError:  # a proxy that is not written as an address cannot be recognised
        return False
