"""Batches of rows: of which size, so that a row has the same bits in each."""
