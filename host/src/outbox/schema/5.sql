-- Who goes first: 0 critical, 1 normal, 2 bulk; as the rule had it when it decided. The queue is read by it.
ALTER TABLE recipient ADD COLUMN priority INTEGER NOT NULL DEFAULT 1 CHECK (priority BETWEEN 0 AND 2);
DROP INDEX recipient_due;
CREATE INDEX recipient_due ON recipient (priority, next_at, mail) WHERE next_at IS NOT NULL;
-- A digest gets that of the most urgent event in it.
ALTER TABLE gathered ADD COLUMN priority INTEGER NOT NULL DEFAULT 1 CHECK (priority BETWEEN 0 AND 2);
