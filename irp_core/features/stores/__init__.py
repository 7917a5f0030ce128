"""Feature stores as a whole: how large they are, and those that lie in an object store."""
