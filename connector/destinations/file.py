"""Newline-delimited JSON in a folder, a new file every UTC day and whenever one is full; the file transport writes.

Parquet, compression, partitions and object stores are the business of the other variant, in objects.py.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any, ClassVar

from connector.destinations.base import Destination, DestinationClass, Option, encode_within, stamped
from connector.destinations.objects import (
    MAX_EVENT_BYTES,
    MAX_FILE_BATCH,
    OBJECT_OPTIONS,
    ObjectsDestination,
    is_of_objects,
)
from connector.model import Batch, Connection, Delivery, Event, Refused, Request

ROTATE_BYTES = 128 * 1024 * 1024  # what editors, loaders and object stores still take with ease


class FileDestination(Destination):
    type: ClassVar[str] = "file"
    transport: ClassVar[str] = "file"
    default_batch: ClassVar[Batch] = Batch(max_events=500, max_bytes=5_000_000, max_wait_seconds=0.5)
    max_batch: ClassVar[Batch] = MAX_FILE_BATCH
    options: ClassVar[Mapping[str, Option]] = {
        **OBJECT_OPTIONS,
        "rotate_bytes": Option(
            "integer", "A file that would grow larger is followed by another.", default=ROTATE_BYTES
        ),
    }

    @classmethod
    def variant(cls, options: Mapping[str, Any]) -> DestinationClass:
        return ObjectsDestination if is_of_objects(options) else cls

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._folder = PurePath(str(self.option("path") or "events"))
        self._file_name = re.sub(r"[^A-Za-z0-9._-]+", "-", connection.name).lstrip(".") or "events"
        self._headers = {"rotate-bytes": str(self.option("rotate_bytes"))}
        self._max_event_bytes = self.event_bytes(MAX_EVENT_BYTES)

    def encode(self, event: Event) -> bytes | Refused:
        return encode_within(event.body, self._max_event_bytes, with_sent_at=True)

    def prepare(self, batch: Sequence[Delivery], sent_at: datetime) -> Request:
        """`url` is the path of the day's first file; the transport goes on to a numbered one when it is full."""
        day = sent_at.astimezone(UTC).date().isoformat()
        lines = b"".join(line + b"\n" for line in stamped(batch, sent_at))
        return Request("APPEND", str(self._folder / f"{self._file_name}-{day}.ndjson"), self._headers, lines)
