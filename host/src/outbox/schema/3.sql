-- Attempts that came to nothing because facts could not be asked for: they are made like all others, and do not count
-- towards the number after which a judgement is given up.
ALTER TABLE postponed ADD COLUMN excused INTEGER NOT NULL DEFAULT 0;
