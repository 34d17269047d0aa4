"""A destination that speaks RudderStack's batch API, fast enough not to be what is measured.

It counts events and how long each took, by the time in its ULID; `GET /seen` tells, `GET /reset` forgets.
It can be ill too: `pause=0.05` answers late, `status=429` refuses, `silent` never answers.
"""

import asyncio
import json
import sys
import time

import orjson

MESSAGE_ID = b'"messageId":'  # once in each event; reading the whole would take as long as delivering does
CROCKFORD = {character: value for value, character in enumerate("0123456789ABCDEFGHJKMNPQRSTVWXYZ")}


class Stub:
    """What all connections share."""

    def __init__(self, options: list[str]) -> None:
        given = dict(option.partition("=")[::2] for option in options)
        self._measures_delay = "delays" in given
        self.is_silent = "silent" in given
        self.pause_seconds = float(given.get("pause", 0))
        self.status = int(given.get("status", 200))
        self.reset()

    def reset(self) -> None:
        self.requests = 0
        self.events = 0
        self.first_at = 0.0
        self.last_at = 0.0
        self.delays: list[float] = []

    def seen(self) -> bytes:
        ordered = sorted(self.delays)
        return json.dumps(
            {
                "requests": self.requests,
                "events": self.events,
                "first_at": self.first_at,
                "last_at": self.last_at,
                "p50_delay": ordered[len(ordered) // 2] if ordered else None,
                "p99_delay": ordered[int(len(ordered) * 0.99)] if ordered else None,
            }
        ).encode()

    def take(self, body: bytes) -> None:
        self.last_at = time.time()
        self.first_at = self.first_at or self.last_at
        self.requests += 1
        self.events += body.count(MESSAGE_ID)
        if self._measures_delay:
            batch = orjson.loads(body)["batch"]
            self.delays += [self.last_at - ulid_seconds(event["properties"]["eventId"]) for event in batch]


def ulid_seconds(text: str) -> float:
    milliseconds = 0
    for character in text[:10]:
        milliseconds = milliseconds * 32 + CROCKFORD[character]
    return milliseconds / 1000


class Connection(asyncio.Protocol):
    def __init__(self, stub: Stub) -> None:
        self._stub = stub
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._buffer[:end]).lower()
            _, _, length = head.partition(b"content-length:")
            size = int(length.split(b"\r\n", 1)[0]) if length else 0
            if len(self._buffer) < end + 4 + size:
                return
            body = bytes(self._buffer[end + 4 : end + 4 + size])
            del self._buffer[: end + 4 + size]
            self._answer(head.split(b" ", 2)[1], body)

    def _answer(self, path: bytes, body: bytes) -> None:
        stub = self._stub
        if path == b"/seen":
            self._write(200, stub.seen())
        elif path == b"/reset":
            stub.reset()
            self._write(200, b"ok")
        elif not stub.is_silent:
            if stub.status == 200:
                stub.take(body)
            if stub.pause_seconds:
                asyncio.get_running_loop().call_later(stub.pause_seconds, self._write, stub.status, b"ok")
            else:
                self._write(stub.status, b"ok")

    def _write(self, status: int, answer: bytes) -> None:
        head = f"HTTP/1.1 {status} .\r\nContent-Type: text/plain\r\nContent-Length: {len(answer)}\r\n\r\n"
        self._transport.write(head.encode() + answer)  # type: ignore[attr-defined]


async def serve(options: list[str]) -> None:
    stub = Stub(options)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(stub), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1:]))
