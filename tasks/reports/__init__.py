"""What people read after a run: tables, summary, page, artifacts."""
