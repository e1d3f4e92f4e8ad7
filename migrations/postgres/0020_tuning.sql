-- What people found to be right for a datastore, in the place of what it finds out by itself: the evidence from which on it is
-- taken to hold an answer, and the part of dense vectors in the fusion, both 0 to 1.
ALTER TABLE datastores ADD COLUMN evidence_threshold DOUBLE PRECISION;
ALTER TABLE datastores ADD COLUMN dense_weight DOUBLE PRECISION;
