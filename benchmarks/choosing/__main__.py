"""`python -m benchmarks.choosing`."""

import typer

from benchmarks.choosing.runs import _main

if __name__ == "__main__":
    typer.run(_main)
