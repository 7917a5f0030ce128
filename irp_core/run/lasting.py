"""The digests of what a finished run's folder holds: every file that a later command reads from it.

A step's note has the digests of its outputs (`irp_core.run.steps`), so the note stands for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from irp_core.atomic import read_json_object
from irp_core.errors import InputError
from irp_core.hashing import altered_files, file_sha256
from irp_core.model_files import INSPECTOR
from irp_core.run.directory import RunDirectory
from irp_core.run.files import (
    DECISIONS,
    DIGESTS,
    IMAGES,
    ITERATIONS,
    MANIFEST,
    MODEL,
    RECORD,
    REMOVALS,
    REPORT,
    REVIEWS,
    SCORES,
    STEP,
    SUMMARY,
    TEST_SCORES,
)
from irp_core.run.inputs import is_sealed

__all__ = ["OF_REVIEWS", "check_results", "check_rounds", "folder_differences", "folder_digests"]

OF_REVIEWS = (REVIEWS, REMOVALS, IMAGES, REPORT)
"""What a review of the finished run changes."""


_RESULTS = (
    MANIFEST, SUMMARY, ITERATIONS, SCORES, TEST_SCORES, REVIEWS, IMAGES, REMOVALS, f"{MODEL}/{INSPECTOR}",
)  # fmt: skip
_ROUNDS = ("score", "decide")
"""The steps that a decision is made from, or left by."""


def check_results(run: RunDirectory) -> None:
    """Refuse results of a finished run that are not as it left them, before anybody shows, exports or scores with them.

    Held against the digests beside them: this finds damage. Somebody who rewrites both is for `irp audit verify`. The
    model's other files have their digests in `inspector.json`. A run without digests (made in Python, or by irp up to
    0.7) passes.

    Raises:
        InputError: a file is gone or was changed.
    """
    _check(run, _RESULTS)


def check_rounds(run: RunDirectory) -> None:
    """The same of what the decision rounds left, before anybody decides, or supposes, something from it again.

    Raises:
        InputError: a result, or an output of a round, is gone or was changed.
    """
    steps = [folder for name in _ROUNDS for folder in sorted(run.path.glob(f"iterations/*/{name}"))]
    _check(run, [*_RESULTS, DECISIONS, *((folder / STEP).relative_to(run.path).as_posix() for folder in steps)])
    for folder in steps:
        if damage := run.damage_in(folder):
            raise InputError(f"{damage}; {_remedy(run)}.")


def _check(run: RunDirectory, names: Iterable[str]) -> None:
    file = run.path / DIGESTS
    if not file.is_file() or not run.has_results():
        return
    if not is_sealed(run.record()):
        raise InputError(f"{run.path / RECORD}: was changed since it was written; {_remedy(run, RECORD)}.")
    noted = read_json_object(file, "folder", "reviews")
    reviewed = len(run.reviews()) > int(noted["reviews"]["events"])  # since: what a review changes is another
    expected = {name: noted["folder"].get(name) for name in names if not (reviewed and name in OF_REVIEWS)}
    held = {name: sha256 for name, sha256 in expected.items() if sha256 is not None}
    for name, what in altered_files(run.path, held):
        since = " since the run ended" * (what != "is gone")
        raise InputError(f"{run.path / name}: {what}{since}; {_remedy(run, name)}.")


def _remedy(run: RunDirectory, name: str = "") -> str:
    if name == REVIEWS:
        return "its copy in MLflow has the events as they were said"
    began = "the command that began it (irp refine DATA with the same parameters) writes it again"
    return began if name in (RECORD, MANIFEST, DECISIONS) else f"`irp refine --resume {run.path}` makes it again"


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
