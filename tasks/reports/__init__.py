"""What people look at after a run: tables, summary, page, artifacts."""
