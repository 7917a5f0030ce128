"""What a run was asked for and what came of it, without its tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from irp_core.atomic import read_json_object, write_json
from irp_core.config import Params
from irp_core.errors import InputError
from irp_core.params_file import recorded_params
from irp_core.run import files
from irp_core.run.steps import Steps

__all__ = ["RunRecord", "newest_first", "run_folders"]


class RunRecord(Steps):
    """The run's own files but the tables."""

    def record(self) -> dict[str, Any]:
        """`run.json` as it is."""
        return read_json_object(self.path / files.RECORD)

    def write_record(self, record: Mapping[str, Any]) -> None:
        write_json(self.path / files.RECORD, dict(record))

    def params(self) -> Params:
        return recorded_params(self.record(), str(self.path / files.RECORD))

    def has_results(self) -> bool:
        """Whether the refinement ended and its tables are there: the summary is written last."""
        return (self.path / files.SUMMARY).is_file()

    def summary(self) -> dict[str, Any]:
        return files.with_new_names(read_json_object(self.path / files.SUMMARY))

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        write_json(self.path / files.SUMMARY, dict(summary))

    def last_auroc(self) -> float:
        """AUROC of the last model, NaN without labels; of a run of any version."""
        from pyarrow.parquet import ParquetFile  # `read_table` brings pandas along

        with ParquetFile(self.path / files.ITERATIONS) as table:
            value = table.read(columns=["auroc"]).column("auroc")[-1].as_py()
        return math.nan if value is None else float(value)


_Run = TypeVar("_Run", bound=RunRecord)


def run_folders(directory: Path) -> list[Path]:
    """The folders of all runs below `directory`, by their ids; nothing of them is read."""
    return [file.parent for file in sorted(directory.glob(f"*/{files.RECORD}"))]


def newest_first(runs: Iterable[_Run]) -> list[_Run]:
    """Sorted by when they were made; those whose record cannot be read come last."""
    return sorted(runs, key=lambda run: (_created(run), run.run_id), reverse=True)


def _created(run: RunRecord) -> str:
    try:
        return str(run.record().get("created", ""))
    except InputError:
        return ""
