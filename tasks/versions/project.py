"""The folder of a project: a git and DVC repository with the parameters, in which everything that runs leave lies."""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import tasks.runtime.environment  # noqa: F401  (no DVC analytics)
from irp_core.atomic import atomic_path
from irp_core.errors import InputError

__all__ = ["make_project"]

_IGNORED = (
    "/runs/",
    "/.irp/",
    "/prepared/",
    "mlflow.db",
    "mlflow.db-*",
    "mlartifacts/",
    "whatif-*.png",
    ".*.csv.lock",
)
"""What runs leave and git need not keep: snapshots' `.dvc` files, parameters and decisions it keeps."""


def make_project(folder: Path, *, versions: bool = True) -> dict[str, str]:
    """Make what a project lacks.

    Args:
        versions: a git and a DVC repository, too.

    Returns:
        Name → what was done about it.

    Raises:
        InputError: the folder is a file, or git or DVC refuse.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: expected a folder, or nothing yet, found a file.")
    folder.mkdir(parents=True, exist_ok=True)
    done: dict[str, str] = {}
    if versions:
        inside = _run(["git", "rev-parse", "--is-inside-work-tree"], folder, may_fail=True)
        done[".git"] = "found" if inside else "made"
        if not inside:
            _run(["git", "init", "--quiet"], folder)
        found = inside and _run([sys.executable, "-m", "dvc", "root"], folder, may_fail=True)
        done[".dvc"] = "found" if found else "made"
        if not found:
            # Below the root of somebody else's repository DVC needs to be told that this is meant.
            top = folder.resolve() == Path(_output(["git", "rev-parse", "--show-toplevel"], folder)).resolve()
            _run([sys.executable, "-m", "dvc", "init", "--quiet", *([] if top else ["--subdir"])], folder)
    ignore = folder / ".gitignore"
    known = ignore.read_text(encoding="utf-8").splitlines() if ignore.exists() else []
    missing = [line for line in _IGNORED if line not in known]
    done[ignore.name] = f"{len(missing)} lines added" if missing else "found"
    if missing:
        _write(ignore, "\n".join([*known, *missing]) + "\n")
    params = folder / "params.yaml"
    done[params.name] = "found" if params.exists() else "made: every setting with its default, unit and source"
    if not params.exists():
        _write(params, (files("irp_core.config") / "params.yaml").read_text(encoding="utf-8"))
    return done


def _write(file: Path, text: str) -> None:
    with atomic_path(file) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _run(command: list[str], folder: Path, *, may_fail: bool = False) -> bool:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise InputError(
            f"{command[0]}: expected it to be installed, found no such program; or pass --no-dvc."
        ) from None
    if done.returncode and not may_fail:
        reason = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise InputError(f"{folder}: `{' '.join(command)}` failed: {reason[-1]}")
    return done.returncode == 0


def _output(command: list[str], folder: Path) -> str:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
