"""Connects to a named host, but never to an inner address that the operator has not allowed.

The addresses that are checked are the ones connected to, so a name that changes its mind in between gains nothing.
"""

import socket
import threading
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, cast

from connector.errors import TransportError

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address
SocketAddress = tuple[str, int] | tuple[str, int, int, int]  # IPv4, IPv6; the address itself comes first
# (host, port) → what to connect to. Raises OSError when the name is not known.
Resolver = Callable[[str, int], Sequence[SocketAddress]]

SHARED_NETWORK = IPv4Network("100.64.0.0/10")  # a carrier's own (RFC 6598); some clouds keep metadata in it
NAT64_NETWORK = IPv6Network("64:ff9b::/96")  # the last 32 bits are the IPv4 address that is meant (RFC 6052)
REFUSED_IPV6_NETWORKS: tuple[IPv6Network, ...] = (
    IPv6Network("64:ff9b:1::/48"),  # NAT64 to a network's own choice (RFC 8215)
    IPv6Network("2001::/32"),  # Teredo: a tunnel to an address that cannot be judged from here
    IPv6Network("::/96"),  # IPv4-compatible, long out of use
)
# Named beside private and link-local, which they are part of, since nothing is worth more to an attacker.
METADATA_NETWORKS: tuple[Network, ...] = (ip_network("169.254.169.254/32"), ip_network("fd00:ec2::254/128"))


class Deadline:
    """The moment by which the request of the present thread must be over."""

    def __init__(self) -> None:
        self._thread = threading.local()

    def start(self, timeout_seconds: float) -> None:
        self._thread.ends_at = time.monotonic() + timeout_seconds
        self._thread.has_dialled = False

    def remaining_seconds(self) -> float:
        """More than 0. Raises TimeoutError when the time is over."""
        seconds: float = self._thread.ends_at - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("the time for the whole answer is over")
        return seconds

    def note_dialled(self) -> None:
        self._thread.has_dialled = True

    @property
    def has_dialled(self) -> bool:
        """Whether this request opened a connection, rather than using one that was kept."""
        return bool(self._thread.has_dialled)


class DeadlineSocket(socket.socket):
    """A socket on which no answer, however slowly it drips in, takes longer than the request's deadline."""

    deadline: Deadline | None = None

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        if self.deadline:
            self.settimeout(self.deadline.remaining_seconds())
        return super().recv_into(buffer, nbytes, flags)

    def sendall(self, data: Any, flags: int = 0) -> None:
        if self.deadline:
            self.settimeout(self.deadline.remaining_seconds())
        super().sendall(data, flags)


class AddressGuard:
    """Opens connections for the requests of many threads."""

    def __init__(self, allow_networks: Sequence[Network], resolve: Resolver) -> None:
        self._allow_networks = tuple(allow_networks)
        self._resolve = resolve

    def connect(self, host: str, port: int, deadline: Deadline) -> DeadlineSocket:
        """A connection to the first address that answers in time. Raises TransportError, with what to do."""
        failure = ""
        candidates = self.permitted(host, port, deadline)
        for place, candidate in enumerate(candidates):
            try:
                # Each gets its share of the time, so that one that swallows packets leaves some for the next.
                share_seconds = deadline.remaining_seconds() / (len(candidates) - place)
                return open_socket(candidate, share_seconds, deadline)
            except OSError as error:
                failure = failure or (error.strerror or str(error) or "timed out")
        raise TransportError(f"cannot connect to {host}:{port}: {failure}")

    def permitted(self, host: str, port: int, deadline: Deadline) -> list[SocketAddress]:
        """What the host's name stands for now, without the inner addresses. Raises TransportError if none is left."""
        found = self._lookup(host, port, deadline)
        permitted = [candidate for candidate in found if may_connect(candidate[0], self._allow_networks)]
        if not permitted:
            raise TransportError(told_inner(host, port, sorted({candidate[0] for candidate in found})))
        return permitted

    def refuse_inner(self, host: str, port: int, deadline: Deadline) -> None:
        """For clients that open their connections themselves: raises TransportError when any address that the name
        stands for now is an inner one."""
        found = self._lookup(host, port, deadline)
        if inner := sorted({one[0] for one in found if not may_connect(one[0], self._allow_networks)}):
            raise TransportError(told_inner(host, port, inner))

    def _lookup(self, host: str, port: int, deadline: Deadline) -> Sequence[SocketAddress]:
        """Asks in a thread of its own: the system's resolver knows no deadline and can take half a minute."""
        answers: list[Sequence[SocketAddress]] = []
        failures: list[Exception] = []

        def ask() -> None:
            try:
                answers.append(self._resolve(host, port))
            except (OSError, UnicodeError) as error:
                failures.append(error)

        thread = threading.Thread(target=ask, name="resolve", daemon=True)
        thread.start()
        thread.join(deadline.remaining_seconds())
        if answers:
            return answers[0]
        reason = getattr(failures[0], "strerror", None) or str(failures[0]) if failures else "the name server is silent"
        raise TransportError(f"the name {host} cannot be resolved: {reason}")


def told_inner(host: str, port: int, addresses: Sequence[str]) -> str:
    shown = ", ".join(addresses[:4]) or "no address"
    return (
        f"{host}:{port} is not called: it stands for an inner address ({shown}); "
        "if that is meant, name its network in CONNECTOR_ALLOW_NETWORKS"
    )


def resolve_by_system(host: str, port: int) -> list[SocketAddress]:
    """What the operating system says, names, literals and odd notations of numbers alike."""
    found: list[SocketAddress] = []
    for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        if family in (socket.AF_INET, socket.AF_INET6):
            found.append(cast(SocketAddress, address))
    return found


def open_socket(candidate: SocketAddress, timeout_seconds: float, deadline: Deadline) -> DeadlineSocket:
    family = socket.AF_INET6 if ":" in candidate[0] else socket.AF_INET
    connection = DeadlineSocket(family, socket.SOCK_STREAM)
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(timeout_seconds)
        connection.connect(candidate)
        connection.settimeout(deadline.remaining_seconds())  # for a TLS handshake that may follow
    except BaseException:
        connection.close()
        raise
    connection.deadline = deadline
    deadline.note_dialled()
    return connection


def may_connect(text: str, allow_networks: Sequence[Network]) -> bool:
    """Whether the address is public, or inside a network that the operator has named."""
    address = ip_address(text.partition("%")[0])
    meant = meant_address(address)
    is_allowed = any(one in network for network in allow_networks for one in (address, meant))
    return is_allowed or (is_public(meant) and not (address != meant and is_refused_ipv6(address)))


def meant_address(address: Address) -> Address:
    """The IPv4 address that an IPv6 address carries (mapped, 6to4, NAT64), else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    if address in NAT64_NETWORK:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def is_public(address: Address) -> bool:
    is_special = (
        address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
        or address in SHARED_NETWORK
        or any(address in network for network in METADATA_NETWORKS)
        or (isinstance(address, IPv6Address) and (address.is_site_local or is_refused_ipv6(address)))
    )
    return address.is_global and not is_special


def is_refused_ipv6(address: Address) -> bool:
    return any(address in network for network in REFUSED_IPV6_NETWORKS)
