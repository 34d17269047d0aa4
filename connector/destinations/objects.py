"""Whole files: one for each batch and partition, Parquet or NDJSON, in a folder or an object store; the objects
transport writes them.

An object's name is made of the ids of its deliveries, so that a second try of the same ones replaces the first.
"""

import gzip
import hashlib
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from string import Formatter
from typing import Any, ClassVar

from connector.destinations.arrow import parquet_file, zstd_frame
from connector.destinations.base import (
    Destination,
    Option,
    checked_url,
    encode_within,
    iso_text,
    require_packages,
    stamped,
)
from connector.errors import SettingsError
from connector.json_codec import read_json, write_json
from connector.model import Batch, Connection, Delivery, Event, OutcomeKind, Refused, Request

MAX_EVENT_BYTES = 4_500_000  # more than any webhook that is received, so that nothing is refused by default
MAX_FILE_BATCH = Batch(max_events=10_000, max_bytes=20_000_000, max_wait_seconds=300.0)
MAX_HIDDEN_SECONDS = 450.0  # of waiting and sending: claimed events come back to other workers after 600 s
PARTITION = "date={date}/event={event}"
PARTITION_WORDS = ("date", "year", "month", "day", "hour", "event", "object_type", "metric", "type", "source")
FOLDERS = r"(?!.*(\.\.|//))[\w.=/-]*"  # what may stand between the words: never a way up
UNKNOWN = "unknown"  # the day of an event that has none
REQUIREMENTS = "requirements-files.txt"
MILLISECONDS_FROM = 100_000_000_000  # a Unix time above this (the year 5138 in seconds) counts milliseconds
SUFFIXES = {"none": "", "gzip": ".gz", "zstd": ".zst"}

OBJECT_OPTIONS: Mapping[str, Option] = {
    "path": Option(
        "path",
        "The folder that the files are written to, or `s3://bucket/folder`, `gs://…`, `az://container/folder`; "
        "default: `events` in the data folder.",
    ),
    "format": Option("choice", "What stands in a file.", default="ndjson", choices=("ndjson", "parquet")),
    "compression": Option(
        "choice", "Of whole files; default: `zstd` for Parquet, else none.", choices=("none", "gzip", "zstd")
    ),
    "partition": Option(
        "text", f"Folders below `path`, by what is known of each event; default: `{PARTITION}` for whole files."
    ),
    "endpoint_url": Option("url", "The address of an S3 or GCS that is not Amazon's or Google's."),
    "region": Option("text", "The region of the S3 bucket, where the machine's settings do not name it."),
    "credentials": Option(
        "mapping", "What opens the object store, secret; default: what the machine is allowed to.", default={}
    ),
}


@dataclass(frozen=True, slots=True)
class Store:
    """A kind of object store: what must be installed for it, and what its `credentials` may name."""

    packages: tuple[str, ...]
    credentials: frozenset[str]
    has_endpoint: bool = True


AZURE = Store(
    ("adlfs",),
    frozenset({"account_name", "account_key", "sas_token", "client_id", "client_secret", "tenant_id"}),
    has_endpoint=False,
)
STORES: Mapping[str, Store] = {
    "s3": Store(("s3fs",), frozenset({"key", "secret", "token", "profile"})),
    "gs": Store(("gcsfs",), frozenset({"token", "project"})),
    "az": AZURE,
    "abfs": AZURE,
}


class ObjectsDestination(Destination):
    """The variant of `file` that writes whole files and never touches them again."""

    type: ClassVar[str] = "file"
    transport: ClassVar[str] = "objects"
    default_batch: ClassVar[Batch] = Batch(max_events=5_000, max_bytes=10_000_000, max_wait_seconds=60.0)
    max_batch: ClassVar[Batch] = MAX_FILE_BATCH
    options: ClassVar[Mapping[str, Option]] = OBJECT_OPTIONS
    advice: ClassVar[Mapping[OutcomeKind, str]] = {
        OutcomeKind.UNAUTHORIZED: "check its credentials",
        OutcomeKind.MISCONFIGURED: "check its path",
    }

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._is_parquet = self.option("format") == "parquet"
        self._compression = str(self.option("compression") or ("zstd" if self._is_parquet else "none"))
        self._root = re.sub(r"(?<![:/])/+$", "", str(self.option("path") or "events"))
        self._partition = checked_template(
            connection.name,
            "partition",
            str(self.option("partition") or PARTITION).strip("/"),
            PARTITION_WORDS,
            FOLDERS,
        )
        self._file_name = safe_name(connection.name)
        self._suffix = ".parquet" if self._is_parquet else ".ndjson" + SUFFIXES[self._compression]
        self._headers = self._checked_store(connection)
        # A column that the folders' names have as well would stand there twice.
        self._left_out = frozenset(re.findall(r"(?:^|/)([^=/]+)=", self._partition))
        self._max_event_bytes = self.event_bytes(MAX_EVENT_BYTES)
        if self._is_parquet or self._compression == "zstd":
            require_packages(connection, ("pyarrow",), REQUIREMENTS)
        if connection.batch.max_wait_seconds + connection.timeout_seconds > MAX_HIDDEN_SECONDS:
            problem = f"batch.max_wait and timeout together must not be above {MAX_HIDDEN_SECONDS:g} s"
            raise SettingsError([f"destination {connection.name}: {problem}"])

    def encode(self, event: Event) -> bytes | Refused:
        return encode_within(event.body, self._max_event_bytes, with_sent_at=True)

    def lane(self, event: Event) -> str:
        """The folder below `path`: a partition is a request, an object, and fails or succeeds alone."""
        moment = moment_of(event.body)
        words = {"event": event.name, "object_type": event.object_type, "metric": event.metric}
        words |= {"type": str(event.type), "source": event.source}
        words |= {
            word: moment.strftime(form) if moment else UNKNOWN
            for word, form in (("date", "%Y-%m-%d"), ("year", "%Y"), ("month", "%m"), ("day", "%d"), ("hour", "%H"))
        }
        return self._partition.format_map({word: safe_name(value) for word, value in words.items()})

    def prepare(self, batch: Sequence[Delivery], sent_at: datetime) -> Request:
        """One object, as a whole; `url` is where it stands afterwards."""
        if not batch:
            return Request("PUT", self._root, self._headers, b"")
        lines = stamped(batch, sent_at)
        if self._is_parquet:
            body = parquet_file(rows_of(batch, lines), self._left_out, self._compression)
        else:
            body = compressed(b"".join(line + b"\n" for line in lines), self._compression)
        name = f"{self._file_name}-{digest_of(batch)}{self._suffix}"
        return Request("PUT", f"{self._root}/{self.lane(batch[0].event)}/{name}", self._headers, body)

    def _checked_store(self, connection: Connection) -> dict[str, str]:
        """The headers that tell the transport how to open the store; none for a folder."""
        scheme, separator, place = self._root.partition("://")
        if not separator:
            return {}
        about, store = f"destination {connection.name}", STORES.get(scheme)
        if store is None:
            raise SettingsError([f"{about}: path: {scheme}:// is not one of {', '.join(STORES)}"])
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[\w.=-]+)*", place, re.ASCII) or ".." in place:
            raise SettingsError([f"{about}: path must be like {scheme}://bucket/folder"])
        credentials = dict(self.option("credentials"))
        if unknown := sorted(set(credentials) - store.credentials):
            known = ", ".join(sorted(store.credentials))
            raise SettingsError([f"{about}: credentials: {', '.join(unknown)} is not one of {known}"])
        # It becomes part of a host's name.
        if store is AZURE and not re.fullmatch(r"[a-z0-9]{3,24}", credentials.get("account_name", "")):
            raise SettingsError([f"{about}: credentials must have the account_name of the storage account"])
        require_packages(connection, store.packages, REQUIREMENTS)
        secret = b64encode(write_json(credentials)).decode()
        self._secrets = (secret, *self._secrets)
        headers = {"Authorization": f"Credentials {secret}"}
        if endpoint := self.option("endpoint_url"):
            if not store.has_endpoint:
                raise SettingsError([f"{about}: endpoint_url is for s3:// and gs:// only"])
            headers["endpoint"] = checked_url(connection.name, str(endpoint))
        if region := self.option("region"):
            headers["region"] = str(region)
        return headers


def is_of_objects(options: Mapping[str, Any]) -> bool:
    """Whether these options ask for more than lines appended to files in a folder."""
    return bool(
        options.get("format") == "parquet"
        or options.get("compression") not in (None, "none")
        or options.get("partition")
        or "://" in str(options.get("path") or "")
    )


def checked_template(destination: str, option: str, text: str, words: Sequence[str], literal: str) -> str:
    """The template. Raises SettingsError when it has another word in braces than these, or what `literal` does not
    allow between them."""
    try:
        parts = list(Formatter().parse(text))
    except ValueError:  # a brace that is not closed
        parts = [("{", None, None, None)]
    unknown = [word for _, word, _, _ in parts if word is not None and word not in words]
    if unknown:
        known = ", ".join(f"{{{word}}}" for word in words)
        raise SettingsError([f"destination {destination}: {option}: {{{unknown[0]}}} is not one of {known}"])
    sample = "".join(part + ("x" if word else "") for part, word, _, _ in parts)
    is_plain = not any(form or conversion for _, _, form, conversion in parts)
    if not text or not is_plain or not re.fullmatch(literal, sample, re.ASCII):
        raise SettingsError([f"destination {destination}: {option}: {text!r} cannot be a name"])
    return text


def safe_name(text: str) -> str:
    """Fit for a part of a path, in a folder and in every store; never blank, never hidden, never a way up."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:100].lstrip(".") or UNKNOWN


def digest_of(batch: Sequence[Delivery]) -> str:
    ids = "\n".join(sorted(delivery.id for delivery in batch))
    return hashlib.sha256(ids.encode("utf-8", "backslashreplace")).hexdigest()[:32]


def compressed(data: bytes, compression: str) -> bytes:
    if compression == "gzip":
        return gzip.compress(data, mtime=0)  # without the time the same events make the same bytes
    return zstd_frame(data) if compression == "zstd" else data


def moment_of(body: Mapping[str, Any]) -> datetime | None:
    """The event's own time, in the standard events and in what Customer.io sends; None where there is none."""
    value = body.get("timestamp")
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value / 1000 if value > MILLISECONDS_FROM else value, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None


def rows_of(batch: Sequence[Delivery], lines: Sequence[bytes]) -> Iterator[dict[str, Any]]:
    """A row for each event: what all have in common in columns of its own, the rest as JSON; nothing is lost."""
    for delivery, line in zip(batch, lines, strict=True):
        event = delivery.event
        rest = dict(read_json(line))
        moment = moment_of(rest)
        # What a column says already need not stand in `other` again.
        said = {"type": str(event.type), "timestamp": iso_text(moment) if moment else None}
        rest = {name: value for name, value in rest.items() if name not in said or value != said[name]}
        yield {
            "message_id": text_of(rest.pop("messageId", None)) or event.event_id,
            "type": str(event.type),
            "event": event.name,
            "event_text": text_of(rest.pop("event", None)),
            "user_id": text_of(rest.pop("userId", None)),
            "anonymous_id": text_of(rest.pop("anonymousId", None)),
            "timestamp": moment,
            "source": event.source,
            "object_type": event.object_type,
            "metric": event.metric,
            "machine": event.machine,
            "properties": json_of(rest.pop("properties", None)),
            "context": json_of(rest.pop("context", None)),
            "traits": json_of(rest.pop("traits", None)),
            "other": json_of(rest or None),
        }


def text_of(value: Any) -> str | None:
    """As text; half a character, which no column can hold, is written out."""
    if value is None:
        return None
    if not isinstance(value, str):
        return json_of(value)
    return value.encode("utf-8", "backslashreplace").decode()


def json_of(value: Any) -> str | None:
    return None if value is None else write_json(value).decode("utf-8", "replace")
