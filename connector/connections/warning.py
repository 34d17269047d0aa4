"""What is allowed in the configuration and still probably not meant. Pure."""

import fnmatch
from collections.abc import Iterator
from itertools import combinations
from urllib.parse import urlsplit

from connector.destinations import installed
from connector.mapping import can_both_match, compile_action
from connector.model import Connection, Connections, Source
from schemas.catalogue import DOCUMENTED

EVENT_NAMES = tuple("_".join(pair) for pair in DOCUMENTED)
MIN_WRITE_KEY_CHARACTERS = 16  # below that a key can be guessed; who knows it can send events


def warnings(connections: Connections, public_url: str | None = None) -> list[str]:
    """One sentence for each thing that is worth a second look; `public_url` is this service's own address."""
    found = list(installed().remarks)
    for source in connections.sources:
        found += _about_source(source)
    if not any(destination.enabled for destination in connections.destinations):
        found.append("no destination is enabled: events are kept, but go nowhere")
    for destination in connections.destinations:
        found += _about_destination(destination, public_url)
    for first, second in combinations(connections.destinations, 2):
        if first.enabled and second.enabled and (first.type, first.options) == (second.type, second.options):
            found.append(f"destinations {first.name!r} and {second.name!r} go to the same place: it gets events twice")
    return found


def _about_source(source: Source) -> Iterator[str]:
    if any(len(key) < MIN_WRITE_KEY_CHARACTERS for key in source.write_keys):
        yield f"source {source.name!r}: a write key has fewer than {MIN_WRITE_KEY_CHARACTERS} characters"
    if source.enabled and not source.signing_keys:
        yield f"source {source.name!r}: without a signing key, whoever knows its URL can send events"


def _about_destination(destination: Connection, public_url: str | None) -> Iterator[str]:
    about = f"destination {destination.name!r}"
    if destination.enabled and not any(action.enabled for action in destination.actions):
        yield f"{about}: none of its actions is enabled, it gets nothing"
    if destination.enabled and destination.sources == ():
        yield f"{about}: sources is [], it gets nothing but tests"
    yield from (f"{about}: {text}" for text in (*_about_patterns(destination), *_about_overlaps(destination)))
    url = destination.options.get("url")
    if isinstance(url, str) and url.startswith("http://"):
        yield f"{about}: its address is http://, people's data would travel unencrypted"
    if isinstance(url, str) and public_url and urlsplit(url).netloc == urlsplit(public_url).netloc:
        yield f"{about}: its address is this service's own, events would go round in a circle"


def _about_patterns(destination: Connection) -> Iterator[str]:
    for pattern in destination.events:
        if "_" not in pattern and "*" not in pattern:
            yield f"the pattern {pattern} matches nothing: events are named <object_type>_<metric>"
        elif not any(fnmatch.fnmatchcase(name, pattern.removeprefix("!")) for name in EVENT_NAMES):
            yield f"the pattern {pattern} matches no event that Customer.io documents; is it misspelt?"


def _about_overlaps(destination: Connection) -> Iterator[str]:
    actions = [compile_action(action) for action in destination.actions if action.enabled and not action.distinct]
    for first, second in combinations(actions, 2):
        if can_both_match(first, second):
            yield (
                f"actions {first.name!r} and {second.name!r} may take the same event; both copies have the same "
                "messageId, and a destination that drops repeats keeps one (distinct: true tells them apart)"
            )
