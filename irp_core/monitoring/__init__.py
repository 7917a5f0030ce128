"""Whether new images still look like those that a detector was commissioned on: tables in, tables out. No network."""
