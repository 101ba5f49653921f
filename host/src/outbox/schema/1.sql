-- Times are Unix milliseconds. Ids that leave the outbox (a person's `retry 42`, a delivery's claim, a digest's items)
-- are never used again: AUTOINCREMENT. Every row of one event, or of one digest, is removed together by retention.

-- Totals since the outbox was made: what is there plus what retention removed must be what was ever stored.
CREATE TABLE tally (
  one                INTEGER PRIMARY KEY CHECK (one = 1),
  epoch              INTEGER NOT NULL DEFAULT 0, -- of the last claim
  events             INTEGER NOT NULL DEFAULT 0,
  events_removed     INTEGER NOT NULL DEFAULT 0,
  mails              INTEGER NOT NULL DEFAULT 0,
  mails_removed      INTEGER NOT NULL DEFAULT 0,
  recipients         INTEGER NOT NULL DEFAULT 0,
  recipients_removed INTEGER NOT NULL DEFAULT 0,
  rejected           INTEGER NOT NULL DEFAULT 0,
  rejected_removed   INTEGER NOT NULL DEFAULT 0,
  duplicates         INTEGER NOT NULL DEFAULT 0,
  conflicts          INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO tally (one) VALUES (1);

-- An event, or after retention (swept = 1) its key alone, kept so that a repeat is known.
CREATE TABLE event (
  id        INTEGER PRIMARY KEY,
  org_id    TEXT    NOT NULL,
  client_id TEXT    NOT NULL,
  flow_id   TEXT    NOT NULL,
  timestamp INTEGER NOT NULL, -- the event's own, Unix seconds
  digest    TEXT    NOT NULL, -- SHA-256 of the line, hex
  source    TEXT    NOT NULL,
  received  INTEGER NOT NULL,
  decisions INTEGER NOT NULL, -- rows of `decision`; 0 once swept
  swept     INTEGER NOT NULL DEFAULT 0 CHECK (swept IN (0, 1)),
  UNIQUE (org_id, client_id, flow_id, timestamp)
) STRICT;
CREATE INDEX event_received ON event (swept, received);

-- The same key with another body.
CREATE TABLE conflict (
  id     INTEGER PRIMARY KEY,
  event  INTEGER NOT NULL REFERENCES event (id) ON DELETE CASCADE,
  digest TEXT    NOT NULL,
  source TEXT    NOT NULL,
  seen   INTEGER NOT NULL, -- first
  UNIQUE (event, digest)
) STRICT;

-- A line that is no event.
CREATE TABLE rejected (
  id       INTEGER PRIMARY KEY,
  source   TEXT    NOT NULL,
  offset   INTEGER NOT NULL,
  length   INTEGER NOT NULL,
  digest   TEXT    NOT NULL,
  reason   TEXT    NOT NULL,
  received INTEGER NOT NULL
) STRICT;
CREATE INDEX rejected_received ON rejected (received);

-- What a rule made of an event: exactly one row for each.
CREATE TABLE decision (
  id          INTEGER PRIMARY KEY,
  event       INTEGER NOT NULL REFERENCES event (id),
  rule        TEXT    NOT NULL,
  verdict     TEXT    NOT NULL CHECK (verdict IN ('notify', 'skip', 'error')),
  reason      TEXT    NOT NULL,
  trace       TEXT    NOT NULL, -- JSON
  recipients  TEXT    NOT NULL, -- JSON
  subject     TEXT,
  disposition TEXT    NOT NULL
    CHECK (disposition IN ('skipped', 'error', 'mailed', 'gathered', 'digested', 'throttled')),
  note        TEXT,             -- why it was throttled, or until when it waits
  mails       INTEGER NOT NULL, -- rows of `mail` that name it, if mailed
  UNIQUE (event, rule),
  CHECK ((verdict = 'skip') = (disposition = 'skipped')),
  CHECK ((verdict = 'error') = (disposition = 'error')),
  CHECK ((mails > 0) = (disposition = 'mailed'))
) STRICT;

-- A mail's body: segments (outbox/content.rs) under the SHA-256 of their encoding, shared by the copies of one event.
CREATE TABLE content (
  id       INTEGER PRIMARY KEY,
  sha256   TEXT    NOT NULL UNIQUE,
  size     INTEGER NOT NULL, -- octets on the wire
  segments BLOB    NOT NULL
) STRICT;
-- Files beside the database that a body is made of.
CREATE TABLE content_blob (
  content INTEGER NOT NULL REFERENCES content (id) ON DELETE CASCADE,
  sha256  TEXT    NOT NULL,
  size    INTEGER NOT NULL,
  PRIMARY KEY (content, sha256)
) STRICT, WITHOUT ROWID;
CREATE INDEX content_blob_sha256 ON content_blob (sha256);

-- Closed digests.
CREATE TABLE digest (
  id     INTEGER PRIMARY KEY AUTOINCREMENT,
  rule   TEXT    NOT NULL,
  closed INTEGER NOT NULL,
  items  INTEGER NOT NULL CHECK (items > 0), -- when it was closed
  mails  INTEGER NOT NULL CHECK (mails > 0)
) STRICT;

-- What waits for a digest (digest is null) or has gone into one.
CREATE TABLE gathered (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  decision    INTEGER NOT NULL UNIQUE REFERENCES decision (id),
  rule        TEXT    NOT NULL,
  due         INTEGER NOT NULL,
  view        TEXT    NOT NULL, -- emptied when the digest is closed
  attachments TEXT    NOT NULL, -- JSON
  digest      INTEGER REFERENCES digest (id)
) STRICT;
CREATE INDEX gathered_open ON gathered (rule, id) WHERE digest IS NULL;
CREATE INDEX gathered_due ON gathered (due) WHERE digest IS NULL;
CREATE INDEX gathered_digest ON gathered (digest) WHERE digest IS NOT NULL;
CREATE TABLE gathered_blob (
  gathered INTEGER NOT NULL REFERENCES gathered (id) ON DELETE CASCADE,
  sha256   TEXT    NOT NULL,
  size     INTEGER NOT NULL,
  PRIMARY KEY (gathered, sha256)
) STRICT, WITHOUT ROWID;
CREATE INDEX gathered_blob_sha256 ON gathered_blob (sha256);
-- The mails that a gathered event would have been; gone when the digest is closed.
CREATE TABLE gathered_mail (
  id         INTEGER PRIMARY KEY,
  gathered   INTEGER NOT NULL REFERENCES gathered (id) ON DELETE CASCADE,
  message_id TEXT    NOT NULL,
  sender     TEXT    NOT NULL,
  recipients TEXT    NOT NULL, -- JSON
  subject    TEXT    NOT NULL,
  head       BLOB    NOT NULL,
  content    INTEGER NOT NULL REFERENCES content (id)
) STRICT;
CREATE INDEX gathered_mail_gathered ON gathered_mail (gathered);
CREATE INDEX gathered_mail_content ON gathered_mail (content);

-- A finished mail; never changed.
CREATE TABLE mail (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  message_id TEXT    NOT NULL UNIQUE,
  sender     TEXT    NOT NULL,
  subject    TEXT    NOT NULL,
  head       BLOB    NOT NULL,
  content    INTEGER NOT NULL REFERENCES content (id),
  size       INTEGER NOT NULL, -- octets of the whole mail
  stored     INTEGER NOT NULL,
  slot       INTEGER NOT NULL, -- first due; later than stored if `throttle = "delay"`
  rule       TEXT    NOT NULL,
  decision   INTEGER REFERENCES decision (id),
  digest     INTEGER REFERENCES digest (id),
  recipients INTEGER NOT NULL CHECK (recipients > 0), -- rows of `recipient`
  CHECK ((decision IS NULL) <> (digest IS NULL))
) STRICT;
CREATE INDEX mail_decision ON mail (decision) WHERE decision IS NOT NULL;
CREATE INDEX mail_digest ON mail (digest) WHERE digest IS NOT NULL;
CREATE INDEX mail_content ON mail (content);

-- A recipient of a mail, in exactly one state (outbox/state.rs).
CREATE TABLE recipient (
  id       INTEGER PRIMARY KEY AUTOINCREMENT,
  mail     INTEGER NOT NULL REFERENCES mail (id),
  position INTEGER NOT NULL, -- in the mail, from 1
  address  TEXT    NOT NULL,
  state    TEXT    NOT NULL DEFAULT 'queued'
    CHECK (state IN ('queued', 'sending', 'in_data', 'delivered', 'deferred', 'failed', 'held', 'cancelled')),
  epoch    INTEGER NOT NULL DEFAULT 0, -- of the last claim
  attempts INTEGER NOT NULL DEFAULT 0, -- since it was stored or retried by hand
  since    INTEGER NOT NULL,           -- from when `give_up` counts
  next_at  INTEGER,                    -- when it is due
  reason   TEXT,                       -- the server's reply, or why
  updated  INTEGER NOT NULL,
  UNIQUE (mail, position),
  CHECK ((state IN ('queued', 'deferred')) = (next_at IS NOT NULL))
) STRICT;
CREATE INDEX recipient_due ON recipient (next_at, mail) WHERE next_at IS NOT NULL;
CREATE INDEX recipient_claimed ON recipient (id) WHERE state IN ('sending', 'in_data');

-- What happened to a recipient, oldest first.
CREATE TABLE attempt (
  id        INTEGER PRIMARY KEY,
  recipient INTEGER NOT NULL REFERENCES recipient (id) ON DELETE CASCADE,
  at        INTEGER NOT NULL,
  outcome   TEXT    NOT NULL, -- delivered, deferred, failed, held; interrupted; retried and cancelled by hand
  reply     TEXT    NOT NULL
) STRICT;
CREATE INDEX attempt_recipient ON attempt (recipient);

-- The last slot that a rule has given away.
CREATE TABLE throttle (
  rule TEXT PRIMARY KEY,
  last INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Where an intake stands in a source.
CREATE TABLE position (
  source TEXT PRIMARY KEY,
  offset INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
