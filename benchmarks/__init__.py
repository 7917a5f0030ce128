"""Measurements: how good results are, what they cost, and how both grow."""
