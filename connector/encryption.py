"""Secrets at rest: `enc:…` values, by Fernet with rotating keys. The only user of cryptography."""

import re
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from connector.errors import SettingsError

PREFIX = "enc:"
_VALUE = re.compile(re.escape(PREFIX) + r"gAAAA[\w-]+=*", re.ASCII)  # how every Fernet token begins


def generate_key() -> str:
    """A new key for CONNECTOR_SECRET_KEY."""
    return Fernet.generate_key().decode("ascii")


def is_encrypted(value: str) -> bool:
    return value.startswith(PREFIX)


def encrypt(text: str, keys: Sequence[str]) -> str:
    """`enc:…`, made with the first key; different each time. Raises SettingsError without a usable key."""
    return PREFIX + _cipher(keys).encrypt(text.encode("utf-8")).decode("ascii")


def decrypt(value: str, keys: Sequence[str]) -> str:
    """The text that `encrypt` was given. Raises SettingsError, without the value, when no key fits."""
    try:
        return _cipher(keys).decrypt(_token(value)).decode("utf-8")
    except InvalidToken:
        raise SettingsError(["no key in CONNECTOR_SECRET_KEY can decrypt it"]) from None


def rotate(value: str, keys: Sequence[str]) -> str:
    """The same secret, encrypted with the first key. Raises SettingsError when no key fits."""
    try:
        return PREFIX + _cipher(keys).rotate(_token(value)).decode("ascii")
    except InvalidToken:
        raise SettingsError(["no key in CONNECTOR_SECRET_KEY can decrypt it"]) from None


def rotate_all(text: str, keys: Sequence[str]) -> tuple[str, int]:
    """`text`, a whole file, with every enc:… value encrypted with the first key, and how many there were.

    All else stays as it is. Raises SettingsError that names the line of each value that no key fits.
    """
    problems: list[str] = []
    count = 0

    def replacement(match: re.Match[str]) -> str:
        nonlocal count
        count += 1
        try:
            return rotate(match[0], keys)
        except SettingsError as error:
            line = text.count("\n", 0, match.start()) + 1
            problems.extend(f"line {line}: {problem}" for problem in error.problems)
            return match[0]

    rotated = _VALUE.sub(replacement, text)
    if problems:
        raise SettingsError(problems)
    return rotated, count


def _token(value: str) -> bytes:
    return value.removeprefix(PREFIX).strip().encode("utf-8")


def _cipher(keys: Sequence[str]) -> MultiFernet:
    if not keys:
        raise SettingsError(["CONNECTOR_SECRET_KEY is not set: it encrypts and decrypts enc:… values"])
    try:
        return MultiFernet([Fernet(key) for key in keys])
    except ValueError:
        raise SettingsError(["CONNECTOR_SECRET_KEY holds something that is not a key"]) from None
