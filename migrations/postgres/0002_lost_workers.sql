-- How often the worker that had a job was lost. Apart from failed attempts: a worker that dies does not say
-- which of its jobs was at fault.
ALTER TABLE jobs ADD COLUMN losses BIGINT NOT NULL DEFAULT 0;
-- Dead jobs stay; counting them must not cost a look at every job.
CREATE INDEX jobs_dead ON jobs (kind) WHERE state = 'dead';
