"""A person's review of a run: what is shown, the page for it, and where a decision is written."""
