"""The Transport interface: how a prepared request leaves this machine."""

from typing import Protocol

from connector.model import Request, Response


class Transport(Protocol):
    def send(self, request: Request, timeout_seconds: float) -> Response:
        """The answer, read up to a bound within the time-out. Raises TransportError when there was none.

        Called from several threads at once. Has no effect on anything but the destination.
        """

    def close(self) -> None:
        """Lets go of connections and files; a later send opens them again."""
