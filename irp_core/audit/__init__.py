"""What can be said of finished runs from their tables alone: histories, differences, other thresholds, findings."""
