"""Text from outside and for outside: YAML of a bounded size, cells that no spreadsheet runs.

No file of a run is named here.
"""
