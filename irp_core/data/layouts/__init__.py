"""One file per folder layout, each with `matches(root)` and `read(root)`; a new one is added to `scan.LAYOUTS`."""
