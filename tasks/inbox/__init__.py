"""A line's inbox: what lies in a folder or another file system, and how it becomes the line's own images."""
