-- Events are kept as they were judged, so that they can be explained, and judged by other rules, later. And what pages
-- look for is found by an index.

-- An event without its result rows; gone with the event's decisions.
CREATE TABLE document (
  event     INTEGER PRIMARY KEY REFERENCES event (id),
  size      INTEGER NOT NULL, -- bytes of the text
  artifacts TEXT    NOT NULL, -- JSON: the names that `artifact` has of it
  text      TEXT              -- JSON; null: too large to be kept
) STRICT;

-- Which artifacts an event's flow collected. No reference: to check it at each removal would need an index more.
CREATE TABLE artifact (
  name  TEXT    NOT NULL COLLATE NOCASE,
  event INTEGER NOT NULL, -- a row of `document`
  PRIMARY KEY (name, event)
) STRICT, WITHOUT ROWID;

CREATE INDEX event_client ON event (client_id);
CREATE INDEX event_flow ON event (flow_id);
CREATE INDEX decision_rule ON decision (rule, event);
CREATE INDEX decision_verdict ON decision (verdict, event) WHERE verdict <> 'skip';
CREATE INDEX mail_rule ON mail (rule);
CREATE INDEX recipient_address ON recipient (address COLLATE NOCASE, mail);
-- The states that are few, and looked for.
CREATE INDEX recipient_state ON recipient (state, mail) WHERE state IN ('deferred', 'held', 'failed', 'cancelled');
