"""What comes of a run: tables, summary, findings about the set, operating threshold, and what can be taken out."""
