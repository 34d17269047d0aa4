"""A lean load generator: keep-alive connections on one epoll loop, each request a new event of real size.

Run as a process of its own, so that it takes the same share of the machine from whatever it is pointed at.
"""

import json
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

CONNECT_SECONDS = 5.0
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

# What Customer.io sends for an open, 560 bytes; the id is put in for each request.
TEMPLATE = {
    "event_id": "@" * 26,
    "object_type": "email",
    "metric": "opened",
    "timestamp": 1788200969,
    "data": {
        "action_id": 341,
        "campaign_id": 12,
        "customer_id": "usr_1001",
        "delivery_id": "qbqqI52anQZhnL5TFOrplBY5RP8=",
        "identifiers": {"id": "usr_1001", "email": "ada@example.com", "cio_id": "a1b2c3d40001"},
        "journey_id": "01K09T41XV19T95J3C8Q11W531",
        "parent_action_id": 340,
        "prefetched": False,
        "proxied": True,
        "recipient": "ada@example.com",
        "subject": "Your September reading list",
        "synthetic": False,
        "trigger_event_id": "01K6RTN2R6W57Q030AERPYCPCR",
    },
}


def ulid(milliseconds: int, number: int) -> str:
    """A ULID of that time whose random part is the number: ids in event-time order."""
    value = (milliseconds << 80) | number
    return "".join(CROCKFORD[(value >> shift) & 31] for shift in range(125, -1, -5))


def event_ids(prefix: int = 0) -> Iterator[str]:
    number = prefix << 48
    while True:
        number += 1
        yield ulid(time.time_ns() // 1_000_000, number)


def example() -> tuple[bytes, bytes]:
    """The event as JSON, before and after its id."""
    before, after = json.dumps(TEMPLATE, separators=(",", ":")).split("@" * 26)
    return before.encode(), after.encode()


def request_parts(path: str, headers: dict[str, str]) -> tuple[bytes, bytes]:
    """The request before and after the event's id."""
    before, after = example()
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(before) + 26 + len(after)}", "", ""]
    return "\r\n".join(lines).encode() + before, after


@dataclass
class Result:
    seconds: float
    answered: int
    refused: int  # answers other than 200
    latencies: list[float] = field(repr=False)

    @property
    def per_second(self) -> float:
        return self.answered / self.seconds

    def percentile(self, share: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


def is_whole(answer: bytes) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    _, found, length = head.partition(b"Content-Length: ")
    return bool(found) and len(body) >= int(length.partition(b"\r\n")[0])


def connected(port: int, number: int) -> list[socket.socket]:
    """All at once: opened one after the other, an idle server's first worker would get every one of them."""
    opened = []
    for _ in range(number):
        connection = socket.socket()
        connection.setblocking(False)
        connection.connect_ex(("127.0.0.1", port))
        opened.append(connection)
    for connection in opened:
        if not select.select([], [connection], [], CONNECT_SECONDS)[1]:
            raise TimeoutError(f"no connection to port {port} within {CONNECT_SECONDS} s")
        connection.setblocking(True)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return opened


def play(
    port: int,
    path: str,
    *,
    seconds: float,
    connections: int = 32,
    rate: float | None = None,
    headers: dict[str, str] | None = None,
    prefix: int = 0,
    on_answered: Callable[[str], None] | None = None,
) -> Result:
    """Closed loop, or at a fixed `rate` (open loop: latency counts from the moment a request was due)."""
    before, after = request_parts(path, headers or {})
    ids = event_ids(prefix)
    poll = select.epoll()
    idle: list[socket.socket] = []
    by_descriptor: dict[int, socket.socket] = {}
    for connection in connected(port, connections):
        poll.register(connection, select.EPOLLIN)
        by_descriptor[connection.fileno()] = connection
        idle.append(connection)
    begun: dict[int, tuple[float, str]] = {}
    partial: dict[int, bytes] = {}  # answers that came in pieces
    latencies: list[float] = []
    refused = sent = 0
    started_at = time.perf_counter()
    deadline = started_at + seconds
    while True:
        now = time.perf_counter()
        if now < deadline:
            due = len(idle) if rate is None else min(len(idle), int((now - started_at) * rate) - sent)
            for _ in range(due):
                connection = idle.pop()
                event_id = next(ids)
                due_at = now if rate is None else started_at + sent / rate
                begun[connection.fileno()] = (due_at, event_id)
                connection.sendall(before + event_id.encode() + after)
                sent += 1
        elif not begun:
            break
        elif now > deadline + 10:
            raise RuntimeError(f"{len(begun)} requests without an answer 10 s after the end")
        for descriptor, _ in poll.poll(0.001 if rate else 0.1):
            connection = by_descriptor[descriptor]
            piece = connection.recv(4096)
            if not piece:
                raise RuntimeError("the server closed a connection")
            answer = partial.pop(descriptor, b"") + piece
            if not is_whole(answer):
                partial[descriptor] = answer
                continue
            due_at, event_id = begun.pop(descriptor)
            latencies.append(time.perf_counter() - due_at)
            if answer.startswith(b"HTTP/1.1 200"):
                if on_answered:
                    on_answered(event_id)
            else:
                refused += 1
            idle.append(connection)
    taken = time.perf_counter() - started_at
    for connection in by_descriptor.values():
        connection.close()
    return Result(taken, len(latencies) - refused, refused, latencies)


def main() -> None:
    """`python -m benchmarks.load '{"port": …, "path": …, "seconds": …}'` prints one line of JSON."""
    options = json.loads(sys.argv[1])
    result = play(options.pop("port"), options.pop("path"), **options)
    print(
        json.dumps(
            {
                "seconds": result.seconds,
                "answered": result.answered,
                "refused": result.refused,
                "per_second": result.per_second,
                "p50": result.percentile(0.5),
                "p99": result.percentile(0.99),
            }
        )
    )


if __name__ == "__main__":
    main()
