"""The error tree. Each class says what its catcher should do; how an attempt ended is a value, not an error."""


class ConnectorError(Exception):
    """Root of all errors that this project raises on purpose; the text is meant for a person."""


class SettingsError(ConnectorError):
    """Refuse to start, or refuse the changed file. `problems` lists every mistake found, one sentence each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class UnavailableError(SettingsError):
    """This installation lacks what one destination needs, or what it has of it is broken: hold that one, go on with
    the others. Only who asks whether all is well (`check`) treats it as a refusal."""


class PayloadError(ConnectorError):
    """The received bytes cannot be read: quarantine them, never answer the source with an error."""


class MappingError(ConnectorError):
    """An action's expression failed on this event: dead letter at once, with this text as the reason."""


class JournalError(ConnectorError):
    """The journal could not store or read: do not answer 2xx."""


class JournalFullError(JournalError):
    """No room: the disk is full, or its reserve is reached."""


class TransportError(ConnectorError):
    """There was no answer (refused, reset, timed out, not allowed): try later. Never holds a secret."""
