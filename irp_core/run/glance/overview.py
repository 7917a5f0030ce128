"""One line about every run, whatever became of it: a run that cannot be read hides none of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from irp_core.errors import InputError
from irp_core.run.files import ITERATIONS, RECORD, SUMMARY
from irp_core.run.glance.record import RunRecord, newest_first, run_folders
from irp_core.run.inputs import is_sealed

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Line", "as_table", "overview"]


@dataclass(frozen=True)
class Line:
    """What `irp runs` says of a run.

    Attributes:
        end: iterations, images removed, images at the start, and AUROC (NaN without labels); None of a run that did
            not end.
        problem: why it cannot be read, or what of it was changed; then nothing else but the id is known.
    """

    run_id: str
    created: str = ""
    method: str = ""
    end: tuple[int, int, int, float] | None = None
    problem: str | None = None


def overview(runs: Path) -> list[Line]:
    """A line for each run below `runs`, newest first; those that cannot be read last."""
    lines = [_line(run) for run in newest_first(map(RunRecord, run_folders(runs)))]
    return sorted(lines, key=lambda line: line.problem is not None)


def as_table(lines: Sequence[Line]) -> pd.DataFrame:
    """A row per run: `run, created, method, iterations, removed, images, auroc, problem`; what is not known is None."""
    import pandas as pd

    rows = []
    for line in lines:
        begun = (line.run_id, line.created or None, line.method or None)
        rows.append((*begun, *(line.end or (None, None, None, None)), line.problem))
    names = ["run", "created", "method", "iterations", "removed", "images", "auroc", "problem"]
    return pd.DataFrame(rows, columns=names).astype(dict.fromkeys(("iterations", "removed", "images"), "Int64"))


def _line(run: RunRecord) -> Line:
    try:
        record, params = run.record(), run.params()
        end = None
        changed = None if is_sealed(record) else f"{run.path / RECORD}: was changed since it was written"
        if damage := changed or run.damage_of_results(SUMMARY, ITERATIONS):
            raise InputError(f"{damage}.")
        if run.has_results():
            summary = run.summary()
            counts = tuple(int(summary[name]) for name in ("iterations", "n_removed", "n_start"))
            end = (counts[0], counts[1], counts[2], run.last_auroc())
        return Line(run.run_id, str(record["created"]), params.refinement.method, end)
    except InputError as error:
        problem = str(error)
    except KeyError as error:
        problem = f"{run.path}: expected the key {error} in its record or summary, found none."
    except (OSError, ValueError, TypeError, IndexError, NotImplementedError) as error:
        problem = f"{run.path}: cannot be read ({str(error).splitlines()[0]})."
    return Line(run.run_id, problem=problem)
