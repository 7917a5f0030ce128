"""Folders that this tool wrote itself: below a data set's root they would train on its images twice."""

from __future__ import annotations

from pathlib import Path

from irp_core.errors import InputError
from irp_core.regular_file import read_regular

__all__ = ["MARKER", "own_output"]

MARKER = ".irp-output"
"""A file of this name says that its folder, with all below it, was written by this tool."""
_LARGEST_DVC_FILE = 1_000_000  # bytes


def own_output(folder: Path, has_dvc_file: bool) -> str | None:
    """Why a folder is an output of this tool; None where it is none.

    Args:
        has_dvc_file: whether `<folder>.dvc` lies beside it.
    """
    if (folder / MARKER).exists():
        return "written by irp"
    if (folder / "run.json").is_file() and (folder / "manifest.parquet").is_file():
        return "a run of irp"
    if has_dvc_file and _is_snapshot(folder.with_name(f"{folder.name}.dvc")):
        return "a data set that irp refined, checked out by DVC"
    return None


def _is_snapshot(dvc_file: Path) -> bool:
    """Whether `tasks.snapshots` wrote the file: it notes the run and the iteration there."""
    try:
        text = read_regular(dvc_file, _LARGEST_DVC_FILE).decode("utf-8", "replace")
    except InputError:
        return False
    return "\nmeta:\n  irp:\n" in f"\n{text}"
