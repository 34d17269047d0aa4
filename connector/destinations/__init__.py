"""All destination types, by name: the table of our own, and what installed packages bring along."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from connector.destinations.adobe import AdobeDestination
from connector.destinations.amplitude import AmplitudeDestination
from connector.destinations.base import Destination
from connector.destinations.customerio import CustomerioDestination
from connector.destinations.file import FileDestination
from connector.destinations.http import HttpDestination
from connector.destinations.installed import Installed, UnavailableDestination, installed_types
from connector.destinations.kafka import KafkaDestination
from connector.destinations.mixpanel import MixpanelDestination
from connector.destinations.posthog import PosthogDestination
from connector.destinations.rudderstack import RudderstackDestination
from connector.destinations.segment import SegmentDestination
from connector.destinations.warehouse import WarehouseDestination
from connector.errors import SettingsError, UnavailableError
from connector.model import Connection

DESTINATION_TYPES: dict[str, type[Destination]] = {
    "rudderstack": RudderstackDestination,
    "segment": SegmentDestination,
    "adobe": AdobeDestination,
    "http": HttpDestination,
    "file": FileDestination,
    "warehouse": WarehouseDestination,
    "kafka": KafkaDestination,
    "customerio": CustomerioDestination,
    "amplitude": AmplitudeDestination,
    "mixpanel": MixpanelDestination,
    "posthog": PosthogDestination,
}


@cache  # packages are looked for once, when a connection first asks: one that is installed later needs a restart
def installed() -> Installed:
    """What the installed packages bring."""
    return installed_types(DESTINATION_TYPES)


def destination_types() -> dict[str, type[Destination]]:
    """Our own and those of installed packages, which may be `UnavailableDestination`s."""
    return {**DESTINATION_TYPES, **installed().types}


def unavailable_reason(type_name: str) -> str:
    """Why no destination of this type can be built, though a package brings it; "" when one can."""
    found = destination_types().get(type_name)
    return found.fault if found is not None and issubclass(found, UnavailableDestination) else ""


def build_destination(connection: Connection) -> Destination:
    """The connection's destination. Raises SettingsError when its type is unknown or its options cannot work, and
    UnavailableError when the fault is not in the settings but in what is installed."""
    types = destination_types()
    if connection.type not in types:
        known = ", ".join(types)
        raise SettingsError([f"destination {connection.name}: type {connection.type!r} is not one of {known}"])
    with _containing_defects(connection.type, connection.name):
        return types[connection.type].variant(connection.options)(connection)


def variant_of(type_name: str, options: Mapping[str, Any]) -> tuple[type[Destination], str]:
    """The class for these options, and the profile of a connection that names none. Raises UnavailableError."""
    with _containing_defects(type_name, ""):
        made = destination_types()[type_name].variant(options)
        return made, made.profile_for(options)


@contextmanager
def _containing_defects(type_name: str, destination: str) -> Iterator[None]:
    """A defect in another package's code costs its own connections only; one in ours is to be seen as it is."""
    try:
        yield
    except SettingsError:
        raise
    except Exception as error:
        if type_name in DESTINATION_TYPES:
            raise
        about = f"destination {destination}: " if destination else ""
        raise UnavailableError([f"{about}type {type_name!r} has a defect: {type(error).__name__}: {error}"]) from error
