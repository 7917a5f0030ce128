"""The commands of lines."""
