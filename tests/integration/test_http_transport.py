"""HttpTransport against servers on loopback: the answers, the faults, the deadline, the address guard."""

import contextlib
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from connector.errors import TransportError
from connector.model import Request, Response
from connector.transports.address_guard import may_connect
from connector.transports.http import MAX_ANSWER_BYTES, HttpTransport

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Answer = Callable[[socket.socket, bytes], None]


class Server:
    """Reads one request after the other on each connection and lets `answer` write what it likes."""

    def __init__(self, answer: Answer, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self._answer = answer
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)

    def _accept(self) -> None:
        threads = []
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                break
            self.connections += 1
            self._open.append(connection)
            threads.append(threading.Thread(target=self._serve, args=(connection,), daemon=True))
            threads[-1].start()
        for thread in threads:
            thread.join(5)

    def _serve(self, raw: socket.socket) -> None:
        connection = raw
        with contextlib.suppress(OSError):
            if self._tls:
                connection = self._tls.wrap_socket(raw, server_side=True)
            while request := read_request(connection):
                self.requests.append(request)
                self._answer(connection, request)
        connection.close()
        raw.close()


def read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def writes(answer: bytes) -> Answer:
    return lambda connection, _: connection.sendall(answer)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(answer: Answer, tls: ssl.SSLContext | None = None) -> Server:
        servers.append(Server(answer, tls))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def transport() -> Iterator[HttpTransport]:
    transport = HttpTransport(LOOPBACK, "connector/test")
    yield transport
    transport.close()


def post(transport: HttpTransport, url: str, timeout_seconds: float = 5.0, body: bytes = b"{}") -> Response:
    return transport.send(Request("POST", url, {"Content-Type": "application/json"}, body), timeout_seconds)


def at(server: Server, host: str = "127.0.0.1", scheme: str = "http") -> str:
    return f"{scheme}://{host}:{server.port}/v1/batch"


def resolver(*addresses: str) -> Callable[[str, int], list[tuple[str, int]]]:
    return lambda host, port: [(address, port) for address in addresses]


def test_an_answer_comes_back_with_status_lower_case_headers_and_body(serve, transport):
    server = serve(writes(b"HTTP/1.1 202 Accepted\r\nX-Thing: 1\r\nContent-Length: 2\r\n\r\nok"))

    response = post(transport, at(server), body=b'{"a":"\xc3\xa9"}')

    assert (response.status, response.headers["x-thing"], response.body) == (202, "1", b"ok")
    assert b"User-Agent: connector/test" in server.requests[0]
    assert server.requests[0].endswith(b'\r\n\r\n{"a":"\xc3\xa9"}')


def test_a_connection_is_kept_for_the_next_request(serve, transport):
    server = serve(writes(OK))

    for _ in range(3):
        post(transport, at(server))

    assert (server.connections, len(server.requests)) == (1, 3)


def test_a_kept_connection_that_the_server_cuts_is_replaced_within_the_same_send(serve, transport):
    def answer(connection: socket.socket, request: bytes) -> None:
        if len(server.requests) == 2:
            connection.shutdown(socket.SHUT_RDWR)  # after the request has left, before an answer
        else:
            connection.sendall(OK)

    server = serve(answer)
    post(transport, at(server))

    response = post(transport, at(server))

    assert (response.status, server.connections, len(server.requests)) == (200, 2, 3)


def test_a_fresh_connection_that_is_cut_is_a_transport_error(serve, transport):
    server = serve(lambda connection, _: connection.shutdown(socket.SHUT_RDWR))

    with pytest.raises(TransportError, match=f"127.0.0.1:{server.port} closed the connection without an answer"):
        post(transport, at(server))
    assert len(server.requests) == 1


def test_a_redirect_is_an_answer_and_is_not_followed(serve, transport):
    server = serve(writes(b"HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"))

    assert post(transport, at(server)).status == 307
    assert len(server.requests) == 1


def test_a_chunked_answer_is_read_and_its_connection_used_again(serve, transport):
    server = serve(writes(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n3\r\nay!\r\n0\r\n\r\n"))

    bodies = [post(transport, at(server)).body for _ in range(2)]

    assert bodies == [b"okay!", b"okay!"]
    assert server.connections == 1


def test_a_long_answer_is_cut_and_its_connection_dropped(serve, transport):
    size = MAX_ANSWER_BYTES * 4
    server = serve(writes(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size))

    assert len(post(transport, at(server)).body) == MAX_ANSWER_BYTES
    assert len(post(transport, at(server)).body) == MAX_ANSWER_BYTES
    assert server.connections == 2


@pytest.mark.parametrize("answer", [b"\x00\xff garbage\r\n\r\n", b"SSH-2.0-server\r\n", b"HTTP/1.1 abc\r\n\r\n"])
def test_an_answer_that_is_not_http_is_a_transport_error(serve, transport, answer):
    server = serve(lambda connection, _: (connection.sendall(answer), connection.shutdown(socket.SHUT_RDWR)))

    with pytest.raises(TransportError, match=r"cannot be understood|without an answer"):
        post(transport, at(server))


def test_a_silent_server_costs_no_more_than_the_time_out(serve, transport):
    server = serve(lambda connection, _: None)
    began = time.monotonic()

    with pytest.raises(TransportError, match=r"no answer from 127.0.0.1:\d+ within 0.2 s"):
        post(transport, at(server), timeout_seconds=0.2)

    assert time.monotonic() - began < 1


def drips(head: bytes) -> Answer:
    def answer(connection: socket.socket, _: bytes) -> None:
        connection.sendall(head)
        while True:
            time.sleep(0.03)
            connection.sendall(b"x")

    return answer


def test_headers_that_drip_in_for_ever_cost_no_more_than_the_time_out(serve, transport):
    server = serve(drips(b"HTTP/1.1 200 OK\r\nX-Long: "))
    began = time.monotonic()

    with pytest.raises(TransportError, match="no answer"):
        post(transport, at(server), timeout_seconds=0.3)

    assert time.monotonic() - began < 1


@pytest.mark.parametrize("framing", [b"Content-Length: 100000", b"Connection: close"])
def test_of_a_body_that_drips_in_for_ever_the_status_counts(serve, transport, framing):
    server = serve(drips(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n"))
    began = time.monotonic()

    response = post(transport, at(server), timeout_seconds=0.3)

    assert response.status == 200
    assert set(response.body) <= {ord("x")}
    assert time.monotonic() - began < 1


def test_of_a_body_that_breaks_off_the_status_counts(serve, transport):
    def answer(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nok")
        connection.shutdown(socket.SHUT_RDWR)

    response = post(transport, at(serve(answer)))

    assert (response.status, response.body) == (200, b"ok")


def test_a_server_that_does_not_read_costs_no_more_than_the_time_out(transport):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        began = time.monotonic()
        with pytest.raises(TransportError):
            post(transport, f"http://127.0.0.1:{listener.getsockname()[1]}/", 0.3, b"x" * 20_000_000)

        assert time.monotonic() - began < 2


def test_a_refused_connection_says_where_and_what(transport):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    with pytest.raises(TransportError, match=f"cannot connect to 127.0.0.1:{port}: Connection refused"):
        post(transport, f"http://127.0.0.1:{port}/?token=hidden")


def test_no_error_shows_more_of_the_url_than_host_and_port(transport):
    with pytest.raises(TransportError) as caught:
        post(transport, "http://127.0.0.1:9/secret-path?token=secret-token")

    assert "secret" not in str(caught.value)


def test_proxies_of_the_environment_are_not_used(serve, transport, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    server = serve(writes(OK))

    assert post(transport, at(server)).status == 200


def test_many_threads_share_the_transport(serve, transport):
    server = serve(writes(OK))
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.extend(post(transport, at(server)).status for _ in range(10)))
        for _ in range(8)
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert statuses == [200] * 80
    assert server.connections <= 8


# ── the address guard ──


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0177.0.0.1", "127.1", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]"]
)
def test_no_way_of_writing_an_inner_address_gets_past_the_guard(serve, host):
    server = serve(writes(OK))
    guarded = HttpTransport((), "connector/test")

    with pytest.raises(TransportError, match=r"inner address .* CONNECTOR_ALLOW_NETWORKS"):
        post(guarded, at(server, host))
    assert server.connections == 0


def test_a_public_name_that_stands_for_an_inner_address_is_refused(serve):
    server = serve(writes(OK))
    guarded = HttpTransport((), "connector/test", resolver("127.0.0.1"))

    with pytest.raises(TransportError, match=r"events.example.com:\d+ is not called.*\(127.0.0.1\)"):
        post(guarded, at(server, "events.example.com"))
    assert server.connections == 0


def test_a_name_that_moves_to_an_inner_address_later_is_refused_then():
    answers = iter(["127.0.0.1", "10.0.0.1"])
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[tuple[str, int]]:
        asked.append(next(answers))
        return [(asked[-1], port)]

    guarded = HttpTransport(LOOPBACK, "connector/test", resolve)
    with pytest.raises(TransportError, match="cannot connect"):
        post(guarded, "http://events.example.com:9/", timeout_seconds=0.2)

    with pytest.raises(TransportError, match=r"inner address \(10.0.0.1\)"):
        post(guarded, "http://events.example.com:9/", timeout_seconds=0.2)


def test_inner_addresses_among_several_are_left_out(serve):
    server = serve(writes(OK))
    guarded = HttpTransport((ip_network("127.0.0.2/32"),), "connector/test", resolver("127.0.0.1", "10.0.0.1"))

    with pytest.raises(TransportError, match="inner address"):
        post(guarded, at(server, "events.example.com"))
    assert server.connections == 0


def test_the_name_stays_in_the_host_header(serve):
    server = serve(writes(OK))
    guarded = HttpTransport(LOOPBACK, "connector/test", resolver("127.0.0.1"))

    post(guarded, at(server, "events.example.com"))

    assert f"Host: events.example.com:{server.port}".encode() in server.requests[0]


def test_a_second_address_is_tried_when_the_first_refuses(serve):
    server = serve(writes(OK))
    guarded = HttpTransport(LOOPBACK, "connector/test", resolver("127.0.0.9", "127.0.0.1"))

    assert post(guarded, at(server, "events.example.com")).status == 200


def test_a_name_nobody_knows_is_a_transport_error():
    def resolve(host: str, port: int) -> list[tuple[str, int]]:
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(TransportError, match=r"the name events.example.com cannot be resolved: Name or service"):
        post(HttpTransport((), "connector/test", resolve), "http://events.example.com/")


def test_a_silent_name_server_costs_no_more_than_the_time_out():
    is_over = threading.Event()

    def resolve(host: str, port: int) -> list[tuple[str, int]]:
        is_over.wait(10)
        return []

    began = time.monotonic()
    with pytest.raises(TransportError, match="the name server is silent"):
        post(HttpTransport((), "connector/test", resolve), "http://events.example.com/", timeout_seconds=0.2)
    is_over.set()

    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "10.1.2.3",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.0.1",
        "169.254.169.254",
        "169.254.1.1",
        "100.64.0.1",
        "100.127.255.255",
        "0.0.0.0",  # noqa: S104 (refused, never bound to)
        "0.1.2.3",
        "224.0.0.1",
        "239.1.1.1",
        "240.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "198.18.0.1",
        "192.0.0.1",
        "::1",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "fec0::1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "2002:7f00:1::",
        "2002:a00:1::",
        "2001:0:1::1",
        "::127.0.0.1",
        "2001:db8::1",
        "::ffff:0:7f00:1",
    ],
)
def test_inner_addresses_may_not_be_connected_to(address):
    assert not may_connect(address, ())


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101", "172.32.0.1", "100.128.0.1"],
)
def test_public_addresses_may_be_connected_to(address):
    assert may_connect(address, ())


@pytest.mark.parametrize(
    ("address", "network"),
    [("127.0.0.1", "127.0.0.0/8"), ("::ffff:10.1.0.1", "10.0.0.0/8"), ("fd00::1", "fd00::/8"), ("::1", "::1/128")],
)
def test_an_allowed_network_may_be_connected_to(address, network):
    assert may_connect(address, (ip_network(network),))
    assert not may_connect(str(ip_address("192.168.7.7")), (ip_network(network),))


# ── TLS ──


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for events.example.com, with its key in the same file."""
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    names = ["-subj", "/CN=events.example.com", "-addext", "subjectAltName=DNS:events.example.com"]
    output = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem"), "-days", "3650"]
    subprocess.run([*command, *names, *output], check=True, capture_output=True)
    return folder


def server_tls(folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context


def tls_transport(folder: Path) -> HttpTransport:
    return HttpTransport(LOOPBACK, "connector/test", resolver("127.0.0.1"), folder / "certificate.pem")


def test_a_certificate_is_checked_against_the_name_in_the_url(serve, certificate):
    server = serve(writes(OK), server_tls(certificate))
    transport = tls_transport(certificate)

    assert post(transport, at(server, "events.example.com", "https")).status == 200
    assert post(transport, at(server, "events.example.com", "https")).status == 200
    assert server.connections == 1
    with pytest.raises(TransportError, match=r"no secure connection to other.example.com:\d+: .*other.example.com"):
        post(transport, at(server, "other.example.com", "https"))
    transport.close()


def test_an_unknown_authority_is_refused(serve, certificate):
    server = serve(writes(OK), server_tls(certificate))
    transport = HttpTransport(LOOPBACK, "connector/test", resolver("127.0.0.1"))

    with pytest.raises(TransportError, match="self-signed certificate; check the address and its certificate"):
        post(transport, at(server, "events.example.com", "https"))
    assert server.requests == []


def test_a_plain_server_behind_an_https_address_is_a_transport_error(serve, transport):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(TransportError, match="no secure connection"):
            post(transport, f"https://127.0.0.1:{listener.getsockname()[1]}/")
        thread.join()


def test_a_drip_feeding_tls_server_costs_no_more_than_the_time_out(serve, certificate):
    server = serve(drips(b"HTTP/1.1 200 OK\r\nX-Long: "), server_tls(certificate))
    transport = tls_transport(certificate)
    began = time.monotonic()

    with pytest.raises(TransportError, match="no answer"):
        post(transport, at(server, "events.example.com", "https"), timeout_seconds=0.4)

    assert time.monotonic() - began < 1
    transport.close()
