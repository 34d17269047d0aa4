"""From names of events and properties to names of tables and columns. The same name comes out everywhere, for ever:
it depends on the given name alone, not on the database or on what else is there.
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence

MAX_NAME_BYTES = 63  # PostgreSQL's bound, the smallest of those that are common
HASH_CHARACTERS = 8  # of a SHA-256: enough for names that have fifty bytes in common

# Words that cannot be a name in PostgreSQL, DuckDB, SQLite, Redshift, Snowflake or MySQL unless it stands in quotes,
# and the hidden columns of PostgreSQL and SQLite. `timestamp` and `event` are not here: they are free in all that is
# tested, and every tracking warehouse has them.
RESERVED_WORDS = """
    abort accessible account action add after all alter always analyse analyze and any anti array as asc asymmetric
    authorization autoincrement before begin between bigint binary blob both by call cascade case cast change char
    character check cmax cmin collate collation column commit concurrently condition conflict connect connection
    constraint continue convert create cross ctid cube current current_catalog current_date current_role
    current_schema current_time current_timestamp current_user cursor database databases date dec decimal declare
    default deferrable deferred delayed delete desc describe detach deterministic distinct distinctrow div do double
    drop dual each else elseif enclosed end escape escaped except exclude exclusive exists exit explain fail false
    fetch first float following for force foreign freeze from full fulltext function generated get glob grant group
    groups having high_priority if ignore ilike immediate in increment index indexed infile initially inner inout
    insensitive insert instead int integer intersect interval into is isnull issue iterate join key keys kill lag last
    lateral lead leading leave left like limit linear lines load localtime localtimestamp lock long loop match
    materialized merge minus mod modifies natural no not nothing notnull null nulls numeric of off offset oid old on
    only open optimize option optionally or order organization others out outer outfile over overlaps partition pivot
    placing plan pragma preceding precision primary procedure purge qualify query raise range rank read reads real
    recursive references regexp reindex release rename repeat replace require resignal restrict return returning
    revoke right rlike rollback row rowid rows sample savepoint schema schemas select semi sensitive separator
    session_user set show signal similar smallint some spatial sql sqlexception sqlstate sqlwarning ssl start starting
    stored summarize symmetric system table tableoid tablesample temp temporary terminated then ties tinyint to top
    trailing transaction trigger true truncate try_cast unbounded undo union unique unlock unpivot unsigned update
    usage use user using vacuum values varchar variadic varying verbose view virtual when whenever where while window
    with within without write xmax xmin xor year_month zerofill
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
