"""Commits on a branch that nobody has checked out: the working tree and git's index are left alone."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from irp_core.errors import InputError

__all__ = ["commit_files", "file_on_branch", "push_branch"]

_TRIES = 5  # another process may commit to the same branch at the same time


def commit_files(branch: str, files: Mapping[str, Path], message: str) -> str:
    """Commit files to `branch`, which begins at the current commit where it is new; returns the commit.

    The same files again make no second commit.

    Args:
        files: path in the repository → the file with the content.

    Raises:
        InputError: no git repository here, or git refuses.
    """
    root = Path(_git("rev-parse", "--show-toplevel"))
    reference = f"refs/heads/{branch}"
    _git("check-ref-format", reference)
    for attempt in range(_TRIES):
        tip = _git("rev-parse", "--verify", "--quiet", reference, check=False)
        parent = tip or _git("rev-parse", "--verify", "--quiet", "HEAD", check=False)
        with tempfile.TemporaryDirectory() as folder:
            index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
            if parent:
                _git("read-tree", parent, extra=index)
            for path, file in files.items():
                blob = _git("hash-object", "-w", "--", str(file))
                _git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", extra=index)
            tree = _git("write-tree", extra=index)
        if tip and tree == _git("rev-parse", f"{tip}^{{tree}}"):
            return tip
        commit = _git("commit-tree", tree, *(["-p", parent] if parent else []), "-m", message, extra=_author())
        try:
            _git("update-ref", "-m", "irp: a training set", reference, commit, tip or "0" * 40)
        except InputError:  # somebody was quicker
            if attempt == _TRIES - 1:
                raise
            continue
        if _git("symbolic-ref", "--quiet", "HEAD", check=False) == reference:
            _git("-C", str(root), "reset", "--quiet", "--", *files, check=False)  # checked out: its index follows
        return commit
    raise AssertionError("unreachable")


def file_on_branch(branch: str, path: str) -> str | None:
    """The content of a file on a branch; None where there is none."""
    found = subprocess.run(["git", "show", f"refs/heads/{branch}:{path}"], capture_output=True, text=True, check=False)
    return found.stdout if found.returncode == 0 else None


def push_branch(branch: str, remote: str) -> None:
    """Push a branch to a git remote.

    Raises:
        OSError: the remote does not take it; worth trying again.
    """
    reference = f"refs/heads/{branch}"
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    pushed = subprocess.run(
        ["git", "push", "--quiet", remote, f"{reference}:{reference}"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if pushed.returncode != 0:
        raise OSError(f"git push {remote} {branch}: {_last_line(pushed.stderr)}")


def _author() -> dict[str, str]:
    """Who commits, on a machine that never told git."""
    names = {"name": "irp", "email": "irp@localhost"}
    missing = [key for key in names if not _git("config", f"user.{key}", check=False)]
    return {f"GIT_{who}_{key.upper()}": names[key] for key in missing for who in ("AUTHOR", "COMMITTER")}


def _git(*arguments: str, check: bool = True, extra: Mapping[str, str] | None = None) -> str:
    try:
        found = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, check=False, env={**os.environ, **(extra or {})}
        )
    except OSError as error:
        raise InputError(f"git: expected it on this machine, found none ({error.strerror}).") from None
    if check and found.returncode != 0:
        raise InputError(f"{Path.cwd()}: git {arguments[0]} failed ({_last_line(found.stderr)}).")
    return found.stdout.strip() if found.returncode == 0 else ""


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no reason given"
