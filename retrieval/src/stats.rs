//! Term statistics of a datastore.
