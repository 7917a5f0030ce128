"""Seal a run: the digest of its manifest of digests, where whoever can rewrite the rest cannot rewrite it.

Somebody who changes MLflow's database, the artifacts and the `.dvc` files consistently is found out by nothing among
them. A seal is one line elsewhere: in a file that only the auditor can change, or a tag in a git repository that others
have pulled.
"""

from __future__ import annotations

import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from irp_core.config import Params
from irp_core.errors import InputError
from irp_core.hashing import file_sha256
from irp_core.run.files import DIGESTS
from tasks.audit.known_digests import seal_tag
from tasks.tracking.finding import find_run

__all__ = ["seal_run"]


def seal_run(reference: str, params: Params, *, to: Path | None = None, tag: bool = False) -> tuple[str, list[str]]:
    """Seal a run.

    Args:
        to: file that the seal is appended to.
        tag: make a tag of the git repository around the current directory.

    Returns:
        The seal (`sha256  run  time`), and a sentence for each place that it was written to.

    Raises:
        InputError: a run that did not end or has no digests, or a place that cannot be written.
    """
    run, _ = find_run(reference, params)
    if run.parent.info.status != "FINISHED" or not run.has(DIGESTS):
        raise InputError(
            f"{run.run_id}: expected a finished run with {DIGESTS}, found none; `irp refine` again makes it."
        )
    sha256 = file_sha256(run.file(DIGESTS))
    line = f"{sha256}  {run.run_id}  {datetime.now(UTC).isoformat(timespec='seconds')}\n"
    done = []
    if to is not None:
        _append(to, line)
        done.append(f"Sealed in {to}: `irp audit verify {reference} --seal {to}` holds the run to it.")
    if tag:
        name = seal_tag(run.run_id, sha256)
        _tag(name, line)
        done.append(f"Sealed by the git tag {name}: push it (git push origin {name}); `irp audit verify` looks for it.")
    return line, done


def _append(file: Path, line: str) -> None:
    """Append in one write: a share that allows nothing else will do."""
    try:
        handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line.encode())
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise InputError(f"{file}: the seal cannot be appended ({error.strerror}).") from None


def _tag(name: str, seal: str) -> None:
    """A tag of the seal's own text: it needs no commit, and says the same wherever it is fetched."""
    if _git("tag", "--list", name):
        return
    _git("tag", "--annotate", name, _git("hash-object", "-w", "--stdin", text=seal), "--message", seal)


def _git(*arguments: str, text: str = "") -> str:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False, input=text)
    except OSError as error:
        raise InputError(f"git: cannot be run ({error.strerror}).") from None
    if done.returncode != 0:
        raise InputError(f"{Path.cwd()}: the tag cannot be made ({done.stderr.strip().splitlines()[-1]}).")
    return done.stdout.strip()
