"""The digests of what a finished run's folder holds: every file that a later command reads from it.

A step's note has the digests of its outputs (`irp_core.run.steps`), so the note stands for them.
"""

from __future__ import annotations

from collections.abc import Mapping

from irp_core.hashing import file_sha256
from irp_core.run.directory import RunDirectory
from irp_core.run.files import IMAGES, MODEL, RECORD, REMOVALS, REPORT, REVIEWS, STEP, SUMMARY

__all__ = ["OF_REVIEWS", "folder_differences", "folder_digests"]

OF_REVIEWS = (REVIEWS, REMOVALS, IMAGES, REPORT)
"""What a review of the finished run changes."""


def folder_digests(run: RunDirectory) -> dict[str, str]:
    """sha256 by path in the folder: tables, record, summary, page, model, and the steps' notes."""
    named = [run.path / name for name in (RECORD, SUMMARY, REPORT)]
    found = [*named, *run.path.glob("*.parquet"), *(run.path / MODEL).rglob("*"), *run.path.rglob(STEP)]
    return {
        file.relative_to(run.path).as_posix(): file_sha256(file)
        for file in sorted(found)
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(run.path).parts)
    }


def folder_differences(run: RunDirectory, expected: Mapping[str, str]) -> dict[str, str]:
    """File → what is wrong with it: gone or changed; the steps' outputs, too."""
    found = folder_digests(run)
    wrong: dict[str, str] = {}
    for name, sha256 in expected.items():
        step = (run.path / name).parent
        if name not in found:
            wrong[name] = "is gone"
        elif found[name] != sha256:
            wrong[name] = "was changed"
        elif step / STEP == run.path / name and (damage := run.damage_in(step)):
            wrong[step.relative_to(run.path).as_posix()] = damage
    return wrong
