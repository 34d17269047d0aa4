"""All destination types, by name."""

from connector.destinations.base import Destination
from connector.destinations.file import FileDestination
from connector.destinations.http import HttpDestination
from connector.destinations.rudderstack import RudderstackDestination
from connector.destinations.segment import SegmentDestination
from connector.errors import SettingsError
from connector.model import Connection

DESTINATION_TYPES: dict[str, type[Destination]] = {
    "rudderstack": RudderstackDestination,
    "segment": SegmentDestination,
    "http": HttpDestination,
    "file": FileDestination,
}


def build_destination(connection: Connection) -> Destination:
    """The connection's destination. Raises SettingsError when its type is unknown or its options cannot work."""
    if connection.type not in DESTINATION_TYPES:
        known = ", ".join(DESTINATION_TYPES)
        raise SettingsError([f"destination {connection.name}: type {connection.type!r} is not one of {known}"])
    return DESTINATION_TYPES[connection.type].variant(connection.options)(connection)
