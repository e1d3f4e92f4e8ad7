-- Which stored files a source names: those that none does are swept.
CREATE INDEX sources_by_blob ON sources (blob_id) WHERE blob_id IS NOT NULL;
