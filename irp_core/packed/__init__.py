"""Images as tar shards with a parquet index, and the one place where an image is opened, wherever it lies.

Nothing here decodes an image, and nothing unpacks an archive onto a disk.
"""
