"""Destination types that other packages bring along, found by their entry points.

What such a package gets wrong costs the connections of its own type, and nothing else (docs/adding-a-destination.md).
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any, ClassVar

from connector.destinations.base import Destination, Option
from connector.errors import UnavailableError
from connector.model import Batch, Connection, Delivery, Event, Refused, Request

GROUP = "customerio_connector.destinations"


class UnavailableDestination(Destination):
    """Stands for a type whose package is there and cannot be used: none can be built, and `fault` says why."""

    fault: ClassVar[str] = ""
    options: ClassVar[Mapping[str, Option]] = {}
    max_batch: ClassVar[Batch] = Batch(max_events=1_000_000, max_bytes=1_000_000_000, max_wait_seconds=3600.0)

    def __init__(self, connection: Connection) -> None:
        raise UnavailableError([f"destination {connection.name}: {type(self).fault}"])

    def encode(self, event: Event) -> bytes | Refused:
        return Refused(type(self).fault)

    def prepare(self, batch: Sequence["Delivery"], sent_at: Any) -> Request:
        raise NotImplementedError(type(self).fault)


@dataclass(frozen=True, slots=True)
class Installed:
    """What was found: types by name, those that cannot be used among them, and what was left aside."""

    types: Mapping[str, type[Destination]] = field(default_factory=dict)
    remarks: Sequence[str] = ()  # for a person; one sentence for each package that was left aside


def installed_types(built_in: Collection[str]) -> Installed:
    """The types of all packages that are installed now. Never raises, whatever is in those packages."""
    by_name: dict[str, list[EntryPoint]] = defaultdict(list)
    for entry in entry_points(group=GROUP):
        by_name[entry.name].append(entry)
    types: dict[str, type[Destination]] = {}
    remarks = []
    for name, entries in sorted(by_name.items()):
        packages = sorted({_package_of(entry) for entry in entries})
        if name in built_in:
            remarks.append(f"{' and '.join(packages)} brings a destination type {name!r}: the connector's own is taken")
        elif len(packages) > 1:
            types[name] = _unavailable(name, f"type {name!r} is brought by {' and by '.join(packages)}: uninstall one")
        else:
            types[name] = _loaded(entries[0])
    return Installed(types, remarks)


def _loaded(entry: EntryPoint) -> type[Destination]:
    try:
        found = entry.load()
        fault = _fault_of(entry.name, found)
    except Exception as error:  # anything can go wrong in a package that nobody here has seen
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        return _unavailable(entry.name, f"type {entry.name!r} of {_package_of(entry)} cannot be loaded: {reason}")
    if fault:
        return _unavailable(entry.name, f"type {entry.name!r} of {_package_of(entry)} cannot be used: {fault}")
    loaded: type[Destination] = found
    return loaded


def _fault_of(name: str, found: object) -> str:
    """What keeps it from being a destination type of this name; "" when nothing does."""
    if not (isinstance(found, type) and issubclass(found, Destination)):
        return "it is not a subclass of connector.destinations.base.Destination"
    if getattr(found, "type", None) != name:
        return f"its class attribute `type` is not {name!r}"
    missing = sorted(getattr(found, "__abstractmethods__", ()))
    missing += [part for part in ("options", "max_batch") if not hasattr(found, part)]
    if missing:
        return f"it lacks {', '.join(missing)}"
    if not all(isinstance(option, Option) for option in found.options.values()):
        return "its options are not all of connector.destinations.base.Option"
    return "" if isinstance(found.max_batch, Batch) else "its max_batch is not a connector.model.Batch"


def _unavailable(name: str, fault: str) -> type[Destination]:
    return type("UnavailableDestination", (UnavailableDestination,), {"type": name, "fault": fault})


def _package_of(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value
