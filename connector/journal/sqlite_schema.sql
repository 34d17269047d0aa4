-- The journal on SQLite. Moments are microseconds since 1970, UTC. A later change is a numbered step of `user_version`.

CREATE TABLE IF NOT EXISTS source (
  id                INTEGER PRIMARY KEY,
  name              TEXT NOT NULL UNIQUE,       -- its identity for ever
  position          INTEGER NOT NULL DEFAULT 0, -- events accepted from it so far; the last one's `received.position`
  quarantine_count  INTEGER NOT NULL DEFAULT 0, -- quarantined events whose bytes are kept
  quarantine_bytes  INTEGER NOT NULL DEFAULT 0, -- and how many bytes that is
  quarantine_hashes INTEGER NOT NULL DEFAULT 0  -- quarantined events of which only the hash is kept
);

CREATE TABLE IF NOT EXISTS proven_key (          -- signing keys that have proven an event genuine (signature: auto)
  source_id   INTEGER NOT NULL REFERENCES source,
  fingerprint TEXT NOT NULL,
  proven_at   INTEGER NOT NULL,
  PRIMARY KEY (source_id, fingerprint)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS received (            -- accepted events, in order of arrival
  seq         INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice, also after the newest row has been removed
  source_id   INTEGER NOT NULL REFERENCES source,
  position    INTEGER NOT NULL,                  -- the n-th event of its source: differences count a backlog in no time
  received_at INTEGER NOT NULL,
  event_id    TEXT NOT NULL,
  headers     TEXT,                              -- JSON; NULL: none kept
  body        BLOB                               -- NULL: erased or past its retention; the row remembers the id
);
-- The memory of ids. In ULID order it grows at its right edge, which keeps it cheap at any size.
CREATE UNIQUE INDEX IF NOT EXISTS received_by_id ON received (source_id, event_id);
CREATE INDEX IF NOT EXISTS received_in_order ON received (source_id); -- and, as in every index, seq: a reader's way
CREATE INDEX IF NOT EXISTS received_by_time ON received (received_at, source_id);
CREATE INDEX IF NOT EXISTS received_without_body ON received (received_at) WHERE body IS NULL;

CREATE TABLE IF NOT EXISTS reader (              -- a destination × a source, or a replay of that pair
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  destination TEXT NOT NULL,
  source_id   INTEGER NOT NULL REFERENCES source,
  replay      TEXT NOT NULL DEFAULT '',          -- '': the present
  cursor      INTEGER NOT NULL,                  -- everything up to this seq is settled, or is a row in `delivery`
  position    INTEGER NOT NULL,                  -- the source's position at the cursor
  retrying    INTEGER NOT NULL DEFAULT 0,        -- rows in `delivery` that wait; the triggers below keep count
  dead        INTEGER NOT NULL DEFAULT 0,        -- rows in `delivery` that are dead
  lease_owner TEXT,                              -- the journal object that may claim
  lease_until INTEGER NOT NULL DEFAULT 0,
  created_at  INTEGER NOT NULL,
  stop_seq    INTEGER,                           -- this and all below: replays only
  since       INTEGER,                           -- the range asked for; NULL: open
  until       INTEGER,
  filter      TEXT,                              -- JMESPath
  state       TEXT NOT NULL DEFAULT 'running',   -- running | done | cancelled
  total       INTEGER NOT NULL DEFAULT 0,        -- events in the range when it began
  passed      INTEGER NOT NULL DEFAULT 0,        -- of these, how many the cursor has passed
  UNIQUE (destination, source_id, replay)
);

CREATE TABLE IF NOT EXISTS delivery (            -- the exceptions: what failed and waits, or was given up
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  reader_id  INTEGER NOT NULL REFERENCES reader,
  seq        INTEGER NOT NULL,
  event_id   TEXT NOT NULL,
  type       TEXT NOT NULL,                      -- track | identify
  action     TEXT NOT NULL,
  state      TEXT NOT NULL,                      -- waiting | dead | dropped (by a person)
  attempts   INTEGER NOT NULL,                   -- tries that counted
  due_at     INTEGER NOT NULL,                   -- waiting: not before; else since when
  reason     TEXT NOT NULL,                      -- why it waits or died, for a person
  UNIQUE (reader_id, seq, type, action)
);
CREATE INDEX IF NOT EXISTS delivery_by_due ON delivery (reader_id, state, due_at);
CREATE INDEX IF NOT EXISTS delivery_by_seq ON delivery (seq);
CREATE INDEX IF NOT EXISTS delivery_dead ON delivery (reader_id) WHERE state = 'dead'; -- and id: the order of a page

-- Counting a million dead letters for every look at the backlog would not be cheap.
CREATE TRIGGER IF NOT EXISTS delivery_added AFTER INSERT ON delivery BEGIN
  UPDATE reader SET retrying = retrying + (new.state = 'waiting'), dead = dead + (new.state = 'dead')
    WHERE id = new.reader_id;
END;
CREATE TRIGGER IF NOT EXISTS delivery_changed AFTER UPDATE OF state ON delivery WHEN old.state <> new.state BEGIN
  UPDATE reader SET retrying = retrying + (new.state = 'waiting') - (old.state = 'waiting'),
    dead = dead + (new.state = 'dead') - (old.state = 'dead') WHERE id = new.reader_id;
END;
CREATE TRIGGER IF NOT EXISTS delivery_removed AFTER DELETE ON delivery BEGIN
  UPDATE reader SET retrying = retrying - (old.state = 'waiting'), dead = dead - (old.state = 'dead')
    WHERE id = old.reader_id;
END;

CREATE TABLE IF NOT EXISTS quarantine (          -- received, but not to be trusted or not to be read
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  source_id   INTEGER NOT NULL REFERENCES source,
  sha256      TEXT NOT NULL,                     -- of the body
  reason      TEXT NOT NULL,
  event_id    TEXT NOT NULL,
  received_at INTEGER NOT NULL,                  -- the first time
  size        INTEGER NOT NULL,                  -- bytes
  count       INTEGER NOT NULL,                  -- how often these bytes came
  headers     TEXT,
  body        BLOB,                              -- NULL: past the bound
  UNIQUE (source_id, sha256, reason)
);

CREATE TABLE IF NOT EXISTS revision (            -- which actions were in force, to tell why an event was filtered
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  destination TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  definition  TEXT NOT NULL,                     -- JSON
  since_seq   INTEGER NOT NULL,                  -- in force for events after this one
  taken_up_at INTEGER NOT NULL
);

CREATE TABLE IF NOT EXISTS pruned (              -- one row: retention has dealt with everything up to this seq
  seq INTEGER NOT NULL
);
INSERT INTO pruned (seq) SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM pruned);
