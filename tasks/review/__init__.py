"""A person's review of a run: what to look at, the page for it, and where a decision is written."""
