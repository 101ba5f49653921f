-- Judgements that a plugin has put off (`on_failure = "hold"`). From here on `event.decisions` counts the rules that an
-- event was judged by: rows of `decision` and those rows of `postponed` that wait.

-- The line of an event that some rule is to judge again; gone with the last of its judgements.
CREATE TABLE line (
  event INTEGER PRIMARY KEY REFERENCES event (id),
  line  BLOB NOT NULL -- as it came; event.digest is its SHA-256
) STRICT;
-- The files of rows that it names, kept as files beside the database. One that could not be read is not here.
CREATE TABLE line_blob (
  event  INTEGER NOT NULL REFERENCES line (event) ON DELETE CASCADE,
  name   TEXT    NOT NULL, -- as the event has it
  sha256 TEXT    NOT NULL,
  size   INTEGER NOT NULL,
  PRIMARY KEY (event, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX line_blob_sha256 ON line_blob (sha256);

-- A judgement that waits (next_at is set, and there is no decision), or that was given up: then there is a decision,
-- an error, and the row stays beside it until retention, for `bewit outbox retry`.
CREATE TABLE postponed (
  id       INTEGER PRIMARY KEY AUTOINCREMENT,
  event    INTEGER NOT NULL REFERENCES line (event),
  rule     TEXT    NOT NULL,
  attempts INTEGER NOT NULL, -- since it came or was retried by hand
  since    INTEGER NOT NULL, -- from when `give_up` counts
  next_at  INTEGER,          -- when it is due; null: given up
  reason   TEXT    NOT NULL, -- why the last attempt came to nothing
  trace    TEXT    NOT NULL, -- JSON, of the last attempt
  updated  INTEGER NOT NULL,
  UNIQUE (event, rule)
) STRICT;
CREATE INDEX postponed_due ON postponed (next_at, id) WHERE next_at IS NOT NULL;
