"""`${NAME}` and `enc:…` in the values of a document. It is done after parsing, so no secret can break the YAML."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from connector.connections.document import Place, Problem
from connector.encryption import decrypt, is_encrypted
from connector.errors import SettingsError
from connector.settings import read_variable

UNSET = "unset"  # not blank: a list of one missing key is not empty too

# `$${` is a literal `${`; a `${` that is neither that nor a good reference is a mistake, not text.
_REFERENCE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{")


def fill_in(
    value: Any, environment: Mapping[str, str], secret_keys: Sequence[str], path: Place = ()
) -> tuple[Any, list[Problem]]:
    """A copy of `value` with every reference replaced and every secret in clear, and what could not be.

    What could not be is UNSET in the copy. No problem's text holds a value.
    """
    if isinstance(value, dict):
        parts = {key: fill_in(child, environment, secret_keys, (*path, key)) for key, child in value.items()}
        return {key: filled for key, (filled, _) in parts.items()}, [p for _, found in parts.values() for p in found]
    if isinstance(value, list):
        items = [fill_in(child, environment, secret_keys, (*path, index)) for index, child in enumerate(value)]
        return [filled for filled, _ in items], [p for _, found in items for p in found]
    if not isinstance(value, str):
        return value, []
    try:
        text = _expand(value, environment)
        return (decrypt(text, secret_keys) if is_encrypted(text) else text), []
    except SettingsError as error:
        return UNSET, [Problem(path, sentence) for sentence in error.problems]


def names_in(value: Any) -> frozenset[str]:
    """The variables that the document's values refer to."""
    if isinstance(value, dict | list):
        children = value.values() if isinstance(value, dict) else value
        return frozenset[str]().union(*map(names_in, children))
    return (
        frozenset(match[1] for match in _REFERENCE.finditer(value) if match[1])
        if isinstance(value, str)
        else frozenset()
    )


def _expand(text: str, environment: Mapping[str, str]) -> str:
    problems: list[str] = []

    def replacement(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        name, default = match[1], match[2]
        if name is None:
            problems.append("expected ${NAME} or ${NAME:-default}; a literal ${ is written $${")
            return ""
        given = read_variable(environment, name)
        if default is not None:
            return given or default
        if given is None:
            problems.append(f"the environment variable {name} is not set (${{{name}:-}} would make it optional)")
        return given or ""

    expanded = _REFERENCE.sub(replacement, text)
    if problems:
        raise SettingsError(problems)
    return expanded
