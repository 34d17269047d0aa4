"""What a database's refusal means, as the statuses that every destination is judged by."""

import re
from collections.abc import Mapping

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InterfaceError, OperationalError

from connector.model import Response

NO_ANSWER = 0  # the database is not there, or lost on the way
AGAIN = 503

# SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html); the longest beginning counts.
STATUS_BY_SQLSTATE: Mapping[str, int] = {
    "08": NO_ANSWER,
    "57P": NO_ANSWER,  # it is being shut down, or started
    "57014": AGAIN,  # the statement took too long
    "53": AGAIN,  # out of disk, memory or connections
    "55": AGAIN,  # a lock
    "40": AGAIN,  # a deadlock, or two who changed the same row
    "28": 401,
    "42501": 403,  # insufficient privilege
    "25006": 403,  # a standby takes no rows
    "3D": 404,  # no such database
    "42P10": 404,  # a table without a unique key on message_id
    "22": 400,  # a value that its column does not take
    "23": 400,  # a constraint of the user's own
    "54": 400,  # a row too large
}
# Where there is no SQLSTATE: before a PostgreSQL session begins, in DuckDB and in SQLite.
STATUS_BY_TEXT: tuple[tuple[str, int], ...] = (
    (r"password authentication failed|no password supplied|fe_sendauth|pg_hba\.conf", 401),
    (r"role .* does not exist|Access denied", 401),
    (r"database .* does not exist|not a database|not a valid DuckDB|unable to open database", 404),
    (r"permission denied|read-?only", 403),
    (r"Could not set lock|is locked|disk is full|No space left|disk I/O", NO_ANSWER),
    (r"Transaction(Context)? Error|write-write|[Cc]onflict on", AGAIN),
    (r"ON CONFLICT clause does not match|not referenced by a UNIQUE|does not match any", 404),
    (r"no such (table|column)|has no column|does not have a column|already exists", 500),
    (r"Conversion Error|Constraint Error|Out of Range|datatype mismatch", 400),
)


def status_of(error: DBAPIError) -> int:
    """What it comes to; NO_ANSWER when the connection could not be made or was lost."""
    state = str(getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None) or "")
    for length in (5, 3, 2):
        if len(state) == 5 and state[:length] in STATUS_BY_SQLSTATE:
            return STATUS_BY_SQLSTATE[state[:length]]
    for pattern, status in STATUS_BY_TEXT:
        if re.search(pattern, str(error.orig)):
            return status
    if isinstance(error, DataError | IntegrityError):
        return 400
    is_lost = isinstance(error, OperationalError | InterfaceError) and not state
    return NO_ANSWER if error.connection_invalidated or is_lost else 500


def describe(error: DBAPIError) -> str:
    """The database's own words on one line, without what it quotes of the values."""
    diagnosis = getattr(error.orig, "diag", None)
    said = str(getattr(diagnosis, "message_primary", None) or error.orig or type(error).__name__)
    line = re.sub(r"\s+", " ", said.partition("\nLINE ")[0].partition("\nDETAIL")[0]).strip()
    is_about_a_value = status_of(error) == 400
    return re.sub(r"""["'].*["']""", "…", line) if is_about_a_value else line


def answer(error: DBAPIError) -> Response:
    return Response(status_of(error), {}, describe(error).encode("utf-8", "replace"))
