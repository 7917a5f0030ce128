"""`python -m benchmarks.scale`."""

import typer

from benchmarks.scale.refinement import main

if __name__ == "__main__":
    typer.run(main)
