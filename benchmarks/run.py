"""Run every benchmark and print one table.

python -m benchmarks.run            all
python -m benchmarks.run snapshot   those whose name contains a word
"""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

import tasks.runtime.environment  # noqa: F401
from benchmarks.running import (
    audit,
    extraction,
    feedback,
    folds,
    line_round,
    serving,
    snapshots,
    training,
    waiting,
)

BENCHMARKS = {
    **audit.BENCHMARKS,
    **snapshots.BENCHMARKS,
    **extraction.BENCHMARKS,
    **training.BENCHMARKS,
    **folds.BENCHMARKS,
    **waiting.BENCHMARKS,
    **line_round.BENCHMARKS,
    **serving.BENCHMARKS,
    **feedback.BENCHMARKS,
}


def main() -> None:
    """Measure and print."""
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    table = Table("benchmark", "what", "measured", title="IRP benchmarks", title_justify="left")
    for name, measure in BENCHMARKS.items():
        if word in name:
            for what, value in measure():
                table.add_row(name, what, value)
    Console().print(table)


if __name__ == "__main__":
    main()
