"""Commands that make image sets ready to travel."""
