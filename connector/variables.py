"""The environment variables that the connector knows: their names, their meaning, and how each is read.

Pure: text in, value out; `settings` is who reads the environment.
"""

import base64
import ipaddress
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

LOG_LEVELS = ("debug", "info", "warning", "error")
SECRET_KEY_BYTES = 32  # a Fernet key before base64


@dataclass(frozen=True, slots=True)
class Variable:
    """One environment variable: the field it fills, how it is read, and its sentence in `.env.example`."""

    name: str
    field: str
    meaning: str
    read: Callable[[str], Any]  # raises ValueError with what was expected
    default: Any = None
    example: str = ""  # what `.env.example` shows
    is_secret: bool = False  # shown as "set" only; may come from the file that NAME_FILE names


# ── readers: text → value, or ValueError("expected …") ──


def _text(text: str) -> str:
    return text


def _whole_number(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,15}", text) or not low <= int(text) <= high:
            raise ValueError(f"expected a whole number from {low} to {high}")
        return int(text)

    return read


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= 3600:  # also refuses nan
        raise ValueError("expected a number of seconds, more than 0 and at most 3600")
    return seconds


def _yes_or_no(text: str) -> bool:
    word = text.lower()
    if word not in ("yes", "no", "true", "false", "on", "off", "1", "0"):
        raise ValueError("expected yes or no")
    return word in ("yes", "true", "on", "1")


def _byte_size(text: str) -> int:
    match = re.fullmatch(r"(\d{1,15})\s*([KMGT]?)(i?)B?", text, re.IGNORECASE)
    if not match:
        raise ValueError("expected a size, such as 500MB or 4194304")
    base = 1024 if match[3] else 1000
    return int(match[1]) * int(base ** " KMGT".index(match[2].upper() or " "))


def _web_address(text: str) -> str:
    expected = "expected an address that starts with https:// (or http://), without a query"
    try:
        parts = urlsplit(text)
    except ValueError:  # an open bracket, for one
        raise ValueError(expected) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(expected)
    if parts.username is not None:
        raise ValueError("expected an address without a user name")
    return text.rstrip("/")


def _networks(text: str) -> tuple[IpNetwork, ...]:
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ValueError(f"expected networks such as 127.0.0.0/8,10.1.0.0/16 ({error})") from None


def _secret_keys(text: str) -> tuple[str, ...]:
    keys = tuple(part.strip() for part in text.split(",") if part.strip())
    for key in keys:
        try:
            size = len(base64.urlsafe_b64decode(key))
        except ValueError:
            size = 0
        if size != SECRET_KEY_BYTES:
            raise ValueError("expected generated keys, separated by commas; `python -m connector init` makes one")
    return keys


def _journal_url(text: str) -> str:
    if not text.startswith(("sqlite:///", "nats://", "tls://")):
        raise ValueError("expected sqlite:///path or nats://host")
    return text


def _url(text: str) -> str:
    if "://" not in text:
        raise ValueError("expected a database URL such as sqlite:///data/ledger.db or postgresql://…")
    return text


def _log_level(text: str) -> str:
    if text.lower() not in LOG_LEVELS:
        raise ValueError(f"expected one of {', '.join(LOG_LEVELS)}")
    return text.lower()


def _write_key(text: str) -> str:
    # It stands in a URL that a person pastes: blanks and control characters would not survive that.
    if any(character.isspace() or not character.isprintable() for character in text):
        raise ValueError("expected a key without blanks")
    return text


VARIABLES: tuple[Variable, ...] = (
    Variable(
        "WRITE_KEY",
        "write_key",
        "The secret in the URL that is pasted into Customer.io; `python -m connector init` makes one.",
        _write_key,
        is_secret=True,
    ),
    Variable(
        "SIGNING_KEY",
        "signing_key",
        "Customer.io's signing key, from the page of the reporting webhook; without one nobody is checked.",
        _text,
        is_secret=True,
    ),
    Variable(
        "DESTINATION_TYPE",
        "destination_type",
        "Where events go: file, http, rudderstack, segment, …; default rudderstack with a URL, else file.",
        lambda text: text.lower(),
    ),
    Variable("DESTINATION_URL", "destination_url", "The address of the destination.", _text),
    Variable(
        "DESTINATION_WRITE_KEY",
        "destination_write_key",
        "The destination's own key, where it has one.",
        _text,
        is_secret=True,
    ),
    Variable("PORT", "port", "The port to listen on.", _whole_number(0, 65535), 8080, "8080"),
    Variable(
        "HOST",
        "host",
        "The address to listen on; 0.0.0.0 to be reachable from other machines.",
        _text,
        "127.0.0.1",
        "127.0.0.1",
    ),
    Variable(
        "PUBLIC_URL",
        "public_url",
        "The address at which Customer.io reaches this service, such as https://events.example.com.",
        _web_address,
    ),
    Variable(
        "CONNECTOR_CONFIG",
        "config_path",
        "The file with sources and destinations, when there is more than one of each.",
        Path,
        example="connector.yaml",
    ),
    Variable("CONNECTOR_DATA_DIR", "data_dir", "The folder for everything kept.", Path, Path("data"), "data"),
    Variable(
        "CONNECTOR_WORKERS",
        "workers",
        "How many web processes; default: one per core, from 2 to 4.",
        _whole_number(1, 64),
        example="2",
    ),
    Variable(
        "CONNECTOR_DELIVER",
        "deliver",
        "no: `gunicorn app:app` only receives, and another process delivers.",
        _yes_or_no,
        True,
        "yes",
    ),
    Variable(
        "CONNECTOR_JOURNAL",
        "journal_url",
        "Where received events are kept: sqlite:///path or nats://host.",
        _journal_url,
        example="sqlite:///data/journal.db",
        is_secret=True,
    ),
    Variable(
        "CONNECTOR_LEDGER",
        "ledger_url",
        "Where attempts and counts are kept: an SQLAlchemy URL.",
        _url,
        example="sqlite:///data/ledger.db",
        is_secret=True,
    ),
    Variable(
        "CONNECTOR_SECRET_KEY",
        "secret_keys",
        "Decrypts enc:… values in connector.yaml; to rotate: the new key, a comma, the old ones.",
        _secret_keys,
        (),
        is_secret=True,
    ),
    Variable(
        "CONNECTOR_ALLOW_NETWORKS",
        "allow_networks",
        "Inner networks that destinations may be in, separated by commas; default: none.",
        _networks,
        (),
        "127.0.0.0/8",
    ),
    Variable(
        "CONNECTOR_MAX_BODY_BYTES",
        "max_body_bytes",
        "The largest body that is accepted, before and after gunzip.",
        _whole_number(1024, 2**30),
        4 * 1024 * 1024,
        "4194304",
    ),
    Variable(
        "CONNECTOR_STORE_TIMEOUT",
        "store_timeout_seconds",
        "Seconds to store an event before the answer is 503; Customer.io waits 4.",
        _seconds,
        3.0,
        "3",
    ),
    Variable(
        "CONNECTOR_DISK_RESERVE",
        "disk_reserve_bytes",
        "Free space on the disk below which nothing more is accepted.",
        _byte_size,
        256 * 1000 * 1000,
        "256MB",
    ),
    Variable(
        "CONNECTOR_KEEPALIVE",
        "keepalive_seconds",
        "Seconds an idle connection stays open; longer than the load balancer's own, if there is one.",
        _whole_number(1, 3600),
        120,
        "120",
    ),
    Variable(
        "FORWARDED_ALLOW_IPS",
        "forwarded_allow_ips",
        "Proxies whose X-Forwarded-For is believed, separated by commas; * for any.",
        _text,
        "127.0.0.1,::1",
        "127.0.0.1,::1",
    ),
    Variable("CONNECTOR_LOG_LEVEL", "log_level", "debug, info, warning or error.", _log_level, "info", "info"),
)
