"""The bytes of a request, read and unpacked within a limit. What they mean is nobody's business here."""

import zlib
from collections.abc import Mapping
from typing import Any

from connector.errors import ConnectorError, PayloadError

PIECE_BYTES = 65536  # what is read at once from a body of unknown length
GZIP_MAGIC = b"\x1f\x8b"  # no JSON text begins so, hence the header need not be believed, in either direction
GZIP_FORMAT = 31  # zlib's number for "gzip header and trailer"
MAX_GZIP_MEMBERS = 64  # every further one copies the rest of the body once more


class BodyError(ConnectorError):
    """There is no whole body; the connection must not be used for another request."""


class BodyTooLargeError(BodyError):
    """Larger than the limit, as sent or unpacked: answer 413. What was not read stays unread."""


class BodyBrokenError(BodyError):
    """The sender broke off, or its framing is wrong: answer 400."""


class BodyStalledError(BodyError):
    """The sender stopped in the middle and the deadline passed: answer 408."""


def read_body(environ: Mapping[str, Any], max_bytes: int) -> bytes:
    """The whole body, as sent. Raises BodyTooLargeError, BodyBrokenError or BodyStalledError."""
    stated = environ.get("CONTENT_LENGTH")
    try:
        if stated:
            return _read_stated(environ["wsgi.input"], int(stated), max_bytes)
        if environ.get("wsgi.input_terminated"):
            return _read_to_the_end(environ["wsgi.input"], max_bytes)
    except BodyError:
        raise
    except TimeoutError:
        raise BodyStalledError("the body stopped before its end") from None
    except Exception as error:  # each server has its own errors for broken framing; all of them mean the same
        raise BodyBrokenError(f"the body is broken: {type(error).__name__}") from error
    return b""


def _read_stated(stream: Any, length: int, max_bytes: int) -> bytes:
    if length > max_bytes:
        raise BodyTooLargeError(f"the body has {length} bytes, the limit is {max_bytes}")
    body: bytes = stream.read(length)
    if len(body) < length:
        raise BodyBrokenError(f"the body ended after {len(body)} of {length} bytes")
    return body


def _read_to_the_end(stream: Any, max_bytes: int) -> bytes:
    pieces = []
    total = 0
    while piece := stream.read(PIECE_BYTES):
        total += len(piece)
        if total > max_bytes:
            raise BodyTooLargeError(f"the body has more than {max_bytes} bytes")
        pieces.append(piece)
    return b"".join(pieces)


def gunzip(body: bytes, max_bytes: int) -> bytes:
    """What the gzip members hold, one after the other.

    Raises BodyTooLargeError as soon as they hold more than `max_bytes`, PayloadError when they cannot be read whole.
    """
    pieces = []
    total = 0
    rest = body
    for _ in range(MAX_GZIP_MEMBERS):
        unpacker = zlib.decompressobj(GZIP_FORMAT)
        try:
            piece = unpacker.decompress(rest, max_bytes - total + 1)
        except zlib.error as error:
            raise PayloadError(f"the gzip body cannot be unpacked: {error}") from None
        total += len(piece)
        if total > max_bytes:
            raise BodyTooLargeError(f"the body has more than {max_bytes} bytes when unpacked")
        if not unpacker.eof:
            raise PayloadError("the gzip body cannot be unpacked: it is cut off")
        pieces.append(piece)
        rest = unpacker.unused_data.lstrip(b"\0")  # some packers pad with zeros
        if not rest:
            return b"".join(pieces)
    raise PayloadError(f"the gzip body cannot be unpacked: it has more than {MAX_GZIP_MEMBERS} parts")
