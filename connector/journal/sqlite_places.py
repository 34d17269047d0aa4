"""Places in the order of arrival, in the journal on SQLite: where a moment lies, how many events lie before."""

from datetime import timedelta
from sqlite3 import Connection

END = 2**62  # later than any moment, past any place
DISORDER = timedelta(minutes=1)  # how far the order of receive times may differ from the order of arrival
DISORDER_MICROS = DISORDER // timedelta(microseconds=1)


def last_seq(connection: Connection) -> int:
    (seq,) = connection.execute("SELECT coalesce(max(seq), 0) FROM received").fetchone()
    return int(seq)


def pruned_to(connection: Connection) -> int:
    """No event up to here has a body any more."""
    (seq,) = connection.execute("SELECT seq FROM pruned").fetchone()
    return int(seq)


def seq_before(connection: Connection, moment: int) -> int:
    """A place that all events received at or after the moment are behind; close to the first of them."""
    last = last_seq(connection)  # looked up first: what comes in meanwhile is behind it
    row = connection.execute(
        "SELECT received_at FROM received WHERE received_at >= ? ORDER BY received_at LIMIT 1", (moment,)
    ).fetchone()
    if row is None:
        return last
    (seq,) = connection.execute(
        "SELECT min(seq) FROM received INDEXED BY received_by_time WHERE received_at >= ? AND received_at <= ?",
        (row[0], row[0] + DISORDER_MICROS),
    ).fetchone()
    return int(seq) - 1


def seq_until(connection: Connection, moment: int) -> int:
    """A place that no event received before the moment is behind; close to the last of them."""
    row = connection.execute(
        "SELECT received_at FROM received WHERE received_at < ? ORDER BY received_at DESC LIMIT 1", (moment,)
    ).fetchone()
    if row is None:
        return 0
    (seq,) = connection.execute(
        "SELECT max(seq) FROM received INDEXED BY received_by_time WHERE received_at >= ? AND received_at <= ?",
        (row[0] - DISORDER_MICROS, row[0]),
    ).fetchone()
    return int(seq)


def position_at(connection: Connection, source_id: int, seq: int) -> int:
    """How many events the source had at this place of the order."""
    row = connection.execute(
        "SELECT position FROM received INDEXED BY received_in_order WHERE source_id = ? AND seq <= ?"
        " ORDER BY seq DESC LIMIT 1",
        (source_id, seq),
    ).fetchone()
    if row is None:  # none, or the rows are forgotten
        row = connection.execute(
            "SELECT position - 1 FROM received INDEXED BY received_in_order WHERE source_id = ? AND seq > ?"
            " ORDER BY seq LIMIT 1",
            (source_id, seq),
        ).fetchone()
    if row is None:
        row = connection.execute("SELECT position FROM source WHERE id = ?", (source_id,)).fetchone()
    return int(row[0])
