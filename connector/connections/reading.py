"""A plain document → `Connections`: the schema's view of each part, then what only the whole can tell."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from connector.connections.document import Place, Problem
from connector.destinations import build_destination, destination_types, unavailable_reason, variant_of
from connector.destinations.installed import UnavailableDestination
from connector.errors import MappingError, SettingsError, UnavailableError
from connector.mapping import DEFAULT_ACTIONS, compile_expression, parse_field_path, parse_privacy_path
from connector.model import (
    Action,
    Batch,
    Connection,
    Connections,
    Privacy,
    Retention,
    Retry,
    SignatureMode,
    Source,
)
from schemas.connection_values import suggestion
from schemas.connections import OPTION_PREFIX, DestinationShape, connections_schema, read_connections

_DEFAULT_RETRY = Connection(name="", type="", options={}).retry


def read(value: Any, default_options: Mapping[str, Mapping[str, Any]]) -> tuple[Connections | None, list[Problem]]:
    """The connections that a document describes, or None and everything that is wrong with it.

    `default_options`: per destination type, the options for which this installation has a default of its own.
    """
    shapes = {
        name: DestinationShape(
            options=made.options,
            max_batch_events=made.max_batch.max_events,
            max_batch_bytes=made.max_batch.max_bytes,
            max_batch_wait_seconds=made.max_batch.max_wait_seconds,
            defaults=default_options.get(name, {}),
            is_open=bool(unavailable_reason(name)),
        )
        for name, made in destination_types().items()
    }
    loaded, mistakes = read_connections(value, connections_schema(shapes))
    problems = list(_flat(mistakes, ()))
    problems += [
        *_repeated_names(value),
        *_shared_write_keys(value),
        *_unknown_sources(value),
        *_bad_expressions(value),
        *_bad_privacy(value),
    ]
    if problems:
        return None, problems

    sources = tuple(_source(given) for given in loaded["sources"])
    destinations = tuple(_connection(given) for given in loaded["destinations"])
    problems = _unusable(destinations)
    if problems:
        return None, problems
    retention = _retention(loaded["retention"])
    fingerprint = hashlib.sha256(repr((sources, destinations, retention)).encode("utf-8", "surrogatepass"))
    return Connections(sources, destinations, retention, fingerprint.hexdigest()[:16]), []


def _flat(mistakes: Any, path: Place) -> Iterator[Problem]:
    """marshmallow's tree of messages, one by one; `_schema` speaks of the part itself."""
    if isinstance(mistakes, dict):
        for key, inner in mistakes.items():
            yield from _flat(inner, path if key == "_schema" else (*path, key))
    elif isinstance(mistakes, list):
        for inner in mistakes:
            yield from _flat(inner, path)
    else:
        yield Problem(path, str(mistakes))


# ── what the schema cannot see: it is asked of the raw document, so that it is reported beside other mistakes ──


def _items(value: Any, *keys: str) -> list[dict[str, Any]]:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return [item if isinstance(item, dict) else {} for item in value] if isinstance(value, list) else []


def _repeated_names(value: Any) -> list[Problem]:
    lists: list[tuple[Place, list[dict[str, Any]]]] = [
        (("sources",), _items(value, "sources")),
        (("destinations",), _items(value, "destinations")),
    ]
    defaults: list[Problem] = []
    for index, destination in enumerate(_items(value, "destinations")):
        path: Place = ("destinations", index, "actions")
        lists.append((path, _items(destination, "actions")))
        if isinstance(destination.get("default_actions"), dict):
            taken = {action.name for action in DEFAULT_ACTIONS}
            for place, action in enumerate(_items(destination, "actions")):
                if action.get("name") in taken:
                    defaults.append(Problem((*path, place, "name"), "a default action has this name"))
    problems = defaults
    for path, items in lists:
        names = [item.get("name") for item in items]
        for index, name in enumerate(names):
            if isinstance(name, str) and name in names[:index]:
                problems.append(Problem((*path, index, "name"), f"{name!r} is already the name of another"))
    return problems


def _bad_expressions(value: Any) -> list[Problem]:
    problems = []
    for place, destination in enumerate(_items(value, "destinations")):
        for index, action in enumerate(_items(destination, "actions")):
            path: Place = ("destinations", place, "actions", index)
            for key in ("where", "map"):
                problems += _refusals(compile_expression, action.get(key), (*path, key), "expected JMESPath")
            field_mapping = action.get("fields")
            for field_path, text in field_mapping.items() if isinstance(field_mapping, dict) else ():
                at = (*path, "fields", field_path)
                problems += _refusals(parse_field_path, field_path, at, "expected a path")
                problems += _refusals(compile_expression, text, at, "expected JMESPath")
    return problems


def _bad_privacy(value: Any) -> list[Problem]:
    problems = []
    for index, destination in enumerate(_items(value, "destinations")):
        privacy = destination.get("privacy")
        for key in ("drop", "hash"):
            paths = privacy.get(key) if isinstance(privacy, dict) else None
            for place, text in enumerate(paths if isinstance(paths, list) else ()):
                at: Place = ("destinations", index, "privacy", key, place)
                problems += _refusals(parse_privacy_path, text, at, "expected a path")
    return problems


def _refusals(check: Callable[[str, str], object], text: Any, path: Place, expected: str) -> list[Problem]:
    if not isinstance(text, str):
        return []  # the schema says what is wrong with it
    try:
        check(text, expected)
    except MappingError as error:
        return [Problem(path, str(error))]
    return []


def _shared_write_keys(value: Any) -> list[Problem]:
    owners: dict[str, int] = {}
    problems = []
    for index, source in enumerate(_items(value, "sources")):
        keys = source.get("write_keys")
        for key in keys if isinstance(keys, list) else ():
            is_given = isinstance(key, str) and bool(key.strip())
            if is_given and owners.setdefault(key.strip(), index) != index:
                path: Place = ("sources", index, "write_keys")
                problems.append(Problem(path, f"holds a key of sources[{owners[key.strip()]}]; it can name one source"))
    return problems


def _unknown_sources(value: Any) -> list[Problem]:
    known = [str(source.get("name")).strip() for source in _items(value, "sources")]
    problems = []
    for index, destination in enumerate(_items(value, "destinations")):
        names = destination.get("sources")
        for place, name in enumerate(names if isinstance(names, list) else ()):
            if isinstance(name, str) and name.strip() not in known:
                path: Place = ("destinations", index, "sources", place)
                problems.append(Problem(path, f"there is no source {name!r}{suggestion(name, known)}"))
    return problems


def _unusable(destinations: tuple[Connection, ...]) -> list[Problem]:
    """What a type itself finds wrong with its options, such as a secret in the wrong form.

    What is not installed, or broken there, is no reason to refuse the others: those connections are held when they
    start.
    """
    problems = []
    for index, connection in enumerate(destinations):
        try:
            build_destination(connection)
        except UnavailableError:
            continue
        except SettingsError as error:
            problems += [Problem(("destinations", index), sentence) for sentence in error.problems]
    return problems


# ── from what the schema has read to the model ──


def _source(given: dict[str, Any]) -> Source:
    signing_keys = tuple(given["signing_keys"])
    default = SignatureMode.AUTO if signing_keys else SignatureMode.OFF
    return Source(
        name=given["name"],
        write_keys=tuple(given["write_keys"]),
        signing_keys=signing_keys,
        signature=SignatureMode(given.get("signature", default)),
        enabled=given["enabled"],
    )


def _connection(given: dict[str, Any]) -> Connection:
    names = [name.removeprefix(OPTION_PREFIX) for name in given if name.startswith(OPTION_PREFIX)]
    options = {name: given[OPTION_PREFIX + name] for name in sorted(names)}
    try:
        made, profile = variant_of(given["type"], options)
    except UnavailableError:  # nobody will ever build it; until that is mended it is held
        made = UnavailableDestination
        profile = made.default_profile
    batch, retry = given.get("batch", {}), given.get("retry", {})
    optional: dict[str, Any] = {}
    if "privacy" in given:
        optional["privacy"] = _privacy(given["privacy"])
    if "sources" in given:
        optional["sources"] = tuple(given["sources"])
    return Connection(
        name=given["name"],
        type=given["type"],
        options=options,
        enabled=given["enabled"],
        start=given["start"],
        events=tuple(given["events"]),
        profile=given.get("profile", profile),
        actions=_actions(given),
        identify=given["identify"],
        keep_content=given["content"] == "keep",
        batch=Batch(
            max_events=batch.get("max_events", made.default_batch.max_events),
            max_bytes=batch.get("max_bytes", made.default_batch.max_bytes),
            max_wait_seconds=batch.get("max_wait", made.default_batch.max_wait_seconds),
        ),
        events_per_second=given.get("rate_limit", {}).get("events_per_second"),
        concurrency=given["concurrency"],
        timeout_seconds=given["timeout"],
        retry=Retry(
            retries=retry.get("retries", _DEFAULT_RETRY.retries),
            delays_seconds=tuple(retry.get("delays", _DEFAULT_RETRY.delays_seconds)),
        ),
        **optional,
    )


def _actions(given: dict[str, Any]) -> tuple[Action, ...]:
    """The default ones, unless there are others; both where `default_actions` says which of them are on. What the
    destination presets comes before an action's own presets."""
    own = tuple(_action(action) for action in given.get("actions", ()))
    switches: dict[str, bool] = given.get("default_actions", {})
    if not own or switches:
        own += tuple(replace(action, enabled=switches.get(action.name, True)) for action in DEFAULT_ACTIONS)
    common = tuple(given["preset"])
    return tuple(replace(action, presets=tuple(dict.fromkeys(common + action.presets))) for action in own)


def _privacy(given: dict[str, Any]) -> Privacy:
    return Privacy(drop=tuple(given["drop"]), hash=tuple(given["hash"]), salt=given.get("salt", ""))


def _action(given: dict[str, Any]) -> Action:
    return Action(
        name=given["name"],
        where=given.get("where"),
        fields=given["field_mapping"],
        map=given.get("map"),
        enabled=given["enabled"],
        distinct=given["distinct"],
        presets=tuple(given["preset"]),
    )


def _retention(given: dict[str, Any]) -> Retention:
    renamed = {"events": "events_seconds", "size": "events_bytes", "attempts": "attempts_seconds"}
    return Retention(**{renamed[key]: value for key, value in given.items()})
