"""Parquet files and zstd frames, in memory: the only user of pyarrow, which comes with requirements-files.txt."""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

# Who does not write such files has no pyarrow; who does is told the command before anything here is called.
try:
    import pyarrow
    from pyarrow import parquet
except ImportError:
    pass

ROWS_AT_ONCE = 500  # as Python's objects, which need ten times the room of a column

# The columns, for good: their order and types never change, new ones come at the end.
COLUMNS: Mapping[str, str] = {
    "message_id": "string",
    "type": "string",
    "event": "string",
    "event_text": "string",
    "user_id": "string",
    "anonymous_id": "string",
    "timestamp": "timestamp",
    "source": "string",
    "object_type": "string",
    "metric": "string",
    "machine": "bool",
    "properties": "string",
    "context": "string",
    "traits": "string",
    "other": "string",
}


def parquet_file(rows: Iterable[Mapping[str, Any]], left_out: frozenset[str], compression: str) -> bytes:
    """The rows as a whole Parquet file with the columns above, but for those left out."""
    types = {"string": pyarrow.string(), "bool": pyarrow.bool_(), "timestamp": pyarrow.timestamp("ms", tz="UTC")}
    kept = [name for name in COLUMNS if name not in left_out]
    schema = pyarrow.schema([(name, types[COLUMNS[name]]) for name in kept])
    waiting, batches = iter(rows), []
    while some := list(islice(waiting, ROWS_AT_ONCE)):
        columns = [pyarrow.array([row[name] for row in some], schema.field(name).type) for name in kept]
        batches.append(pyarrow.RecordBatch.from_arrays(columns, schema=schema))
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.Table.from_batches(batches, schema), sink, compression=compression)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def zstd_frame(data: bytes) -> bytes:
    content: bytes = pyarrow.compress(data, codec="zstd", asbytes=True)
    return content
