"""What the terminal shows, as tables."""
