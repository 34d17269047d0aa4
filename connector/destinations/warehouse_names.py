"""From names of events and properties to names of tables and columns. The same name comes out everywhere, for ever:
it depends on the given name alone, not on the database or on what else is there.
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence

MAX_NAME_BYTES = 63  # PostgreSQL's bound, the smallest of those that are common
HASH_CHARACTERS = 8  # of a SHA-256: enough for names that have fifty bytes in common

# Words that PostgreSQL, DuckDB or SQLite do not take for a name unless it stands in quotes, and the hidden columns that
# they have. `timestamp` and `event` are free, as are `first`, `plan`, `key`, `action`, `rank` and the like.
RESERVED_WORDS = """
    add all alter analyse analyze and anti any array as asc asof asymmetric authorization autoincrement between binary
    both case cast check cmax cmin collate collation column commit concurrently constraint create cross ctid
    current_catalog current_date current_role current_schema current_time current_timestamp current_user default
    deferrable delete desc describe distinct do drop else end escape except exists false fetch for foreign freeze from
    full glob grant group having ilike in index initially inner insert intersect into is isnull join lambda lateral
    leading left like limit localtime localtimestamp natural not nothing notnull null offset oid on only or order outer
    overlaps pivot pivot_longer pivot_wider placing positional primary qualify references returning right rowid select
    semi session_user set show similar some summarize symmetric system_user table tableoid tablesample then to trailing
    transaction true union unique unpivot update user using values variadic verbose when where window with xmax xmin
"""
RESERVED = frozenset(RESERVED_WORDS.split())


def table_name(text: str) -> str:
    """`Email Opened` → `email_opened`."""
    return fitted(snake_case(text), text)


def schema_name(text: str) -> str:
    """As a table's; what databases keep for themselves gets an underscore in front."""
    name = table_name(text)
    is_theirs = name.startswith(("pg_", "sqlite")) or name in ("main", "information_schema", "sys")
    return f"_{name}"[:MAX_NAME_BYTES] if is_theirs else name


def column_name(path: Sequence[str]) -> str:
    """`("context", "traits", "cioId")` → `context_traits_cio_id`."""
    return fitted(snake_case("_".join(path)), "\x00".join(path))


def told_apart(name: str, path: Sequence[str]) -> str:
    """Another name for a path whose own is taken: the same with a hash of the path."""
    return hashed(name, "\x00".join(path))


def snake_case(text: str) -> str:
    """Lower case, words parted by single underscores; letters and digits of any script stay. May be ""."""
    text = unicodedata.normalize("NFKC", text)
    text = re.sub(r"([^\W_A-Z])([A-Z])", r"\1_\2", text)  # emailSubject, topic1Name
    text = re.sub(r"([A-Z])([A-Z][a-z])", r"\1_\2", text)  # HTMLBody
    return re.sub(r"[\W_]+", "_", text.lower()).strip("_")


def fitted(name: str, text: str) -> str:
    """The name as every database takes it; where `text` is more than a name can tell, a hash of it tells the rest."""
    if not name:
        return hashed("name", text)
    if name[0].isdigit() or name in RESERVED:
        name = f"_{name}"
    return name if len(name.encode("utf-8", "replace")) <= MAX_NAME_BYTES else hashed(name, text)


def hashed(name: str, text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:HASH_CHARACTERS]
    kept = name.encode("utf-8", "replace")[: MAX_NAME_BYTES - HASH_CHARACTERS - 1].decode("utf-8", "ignore")
    return f"{kept.rstrip('_')}_{digest}"
