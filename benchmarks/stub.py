"""A destination that speaks RudderStack's batch API, fast enough not to be what is measured.

It counts the events and answers 200; `GET /seen` tells what came, `POST /behave` changes how it answers.
"""

import asyncio
import json
import sys
import time
from typing import Any

import orjson

MAX_HEAD = 65_536


class Stub:
    """What all connections share."""

    def __init__(self) -> None:
        self.requests = 0
        self.events = 0
        self.message_ids: dict[str, int] = {}  # how often each came
        self.delays: list[float] = []  # seconds from the event's own receive time to here
        self.behaviour: dict[str, Any] = {}

    def seen(self) -> dict[str, Any]:
        ordered = sorted(self.delays)
        return {
            "requests": self.requests,
            "events": self.events,
            "distinct": len(self.message_ids),
            "p50_delay": ordered[len(ordered) // 2] if ordered else None,
            "p99_delay": ordered[int(len(ordered) * 0.99)] if ordered else None,
        }

    def take(self, body: bytes) -> tuple[int, bytes]:
        self.requests += 1
        batch = orjson.loads(body)["batch"]
        self.events += len(batch)
        if self.behaviour.get("count_only"):
            return 200, b"ok"
        now = time.time()
        for event in batch:
            message_id = event["messageId"]
            self.message_ids[message_id] = self.message_ids.get(message_id, 0) + 1
            received_at = event.get("context", {}).get("receivedAtSeconds")
            if received_at:
                self.delays.append(now - received_at)
        return 200, b"ok"


class Connection(asyncio.Protocol):
    def __init__(self, stub: Stub) -> None:
        self._stub = stub
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._buffer[:end]).lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 : head.find(b"\r", at) if head.find(b"\r", at) > 0 else None]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            body = bytes(self._buffer[end + 4 : end + 4 + length])
            del self._buffer[: end + 4 + length]
            self._answer(head.split(b" ", 2)[1], body)

    def _answer(self, path: bytes, body: bytes) -> None:
        if path == b"/seen":
            status, answer = 200, json.dumps(self._stub.seen()).encode()
        elif path == b"/ids":
            status, answer = 200, orjson.dumps(self._stub.message_ids)
        elif path == b"/behave":
            self._stub.behaviour = json.loads(body)
            status, answer = 200, b"ok"
        else:
            status, answer = self._stub.take(body)
        head = f"HTTP/1.1 {status} X\r\nContent-Type: text/plain\r\nContent-Length: {len(answer)}\r\n\r\n".encode()
        self._transport.write(head + answer)  # type: ignore[attr-defined]


async def serve(port: int) -> None:
    stub = Stub()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(stub), "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
