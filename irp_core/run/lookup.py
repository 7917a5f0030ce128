"""Which run a person means: by its folder, its id, the beginning of its id, or `last`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from irp_core.errors import InputError
from irp_core.run.directory import RunDirectory, is_run, list_runs

__all__ = ["LAST", "find_local_run", "find_run_directory", "matching", "split_iteration"]

LAST = "last"
"""The newest run: the first row of `irp runs`."""


def matching(reference: str, run_ids: Iterable[str]) -> str | None:
    """The one of `run_ids` (newest first) that a reference means; None where it means none of them.

    A run's id is DATA-METHOD-DIGEST. The whole id is accepted, its beginning, or the beginning of its digest, as long
    as no other run has the same.

    Raises:
        InputError: it could be one of several.

    Example:
        >>> known = ["plate-careful-4f21aa00", "plate-irp-4e00bb11"]
        >>> matching("plate-c", known), matching("4e", known), matching("last", known), matching("plates", known)
        ('plate-careful-4f21aa00', 'plate-irp-4e00bb11', 'plate-careful-4f21aa00', None)
        >>> matching("4", known)
        Traceback (most recent call last):
        irp_core.errors.InputError: 4: expected one run, found 2 (plate-careful-4f21aa00, plate-irp-4e00bb11).
    """
    known = list(run_ids)
    if reference == LAST:
        return known[0] if known else None
    if reference in known or not reference:
        return reference or None
    found = [name for name in known if name.startswith(reference) or name.rpartition("-")[2].startswith(reference)]
    if len(found) > 1:
        names = ", ".join(found[:4]) + (" …" if len(found) > 4 else "")
        raise InputError(f"{reference}: expected one run, found {len(found)} ({names}).")
    return found[0] if found else None


def find_local_run(reference: str, runs: Path) -> RunDirectory | None:
    """The run on this machine that a reference means; None where there is none.

    Args:
        runs: the folder that holds the runs (`run.directory`).

    Raises:
        InputError: it could be one of several.
    """
    if reference and is_run(Path(reference)):
        return RunDirectory(Path(reference))
    name = matching(reference, [run.run_id for run in list_runs(runs)])
    return None if name is None else RunDirectory(runs / name)


def find_run_directory(reference: str, runs: Path) -> RunDirectory:
    """The run on this machine that a reference means.

    Raises:
        InputError: none or several.
    """
    found = find_local_run(reference, runs)
    if found is None:
        raise InputError(
            f"{reference}: expected a run (its folder, its id or the beginning of it, or {LAST}), found none in {runs}"
            "; see `irp runs`."
        )
    return found


def split_iteration(reference: str) -> tuple[str, int | None]:
    """A reference and the iteration that it ends in, if it does.

    Example:
        >>> split_iteration("plate-irp-4e00bb11:2"), split_iteration("C:/runs/x")
        (('plate-irp-4e00bb11', 2), ('C:/runs/x', None))
    """
    found = re.fullmatch(r"(.*[^/]):(\d+)", reference)
    return (found[1], int(found[2])) if found else (reference, None)
