"""One file per folder layout, each with `matches(tree)` and `read(tree)`; a new one is added to `scan.LAYOUTS`."""
