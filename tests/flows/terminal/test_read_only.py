"""A project on a disk that is only read: what only reads works, what writes says so in one sentence."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import flows.cli.main as command

pytestmark = pytest.mark.trust

_VERSION_3 = 0x20080522
_OVER_PERMISSIONS = 0b1110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER


@contextmanager
def as_anybody() -> Iterator[None]:
    """Inside, permissions hold for this thread and those that it starts, though root may run the tests."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, held = (ctypes.c_uint32 * 2)(_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    if os.geteuid() != 0:
        yield
        return
    assert libc.capget(header, held) == 0
    less = (ctypes.c_uint32 * 6)(*held)
    less[0] &= ~_OVER_PERMISSIONS  # effective; what is permitted stays, to be had back
    assert libc.capset(header, less) == 0
    try:
        yield
    finally:
        assert libc.capset(header, held) == 0


@pytest.fixture
def read_only(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the session's project in which nothing can be written."""
    project = tmp_path / "project"
    shutil.copytree(finished.parents[1], project, symlinks=True)
    folders = [project, *(path for path in project.rglob("*") if path.is_dir() and not path.is_symlink())]
    files = [path for path in project.rglob("*") if path.is_file() and not path.is_symlink()]
    for path in (*files, *folders):
        path.chmod(0o555 if path.is_dir() else 0o444)
    monkeypatch.chdir(project)
    yield project
    for folder in folders:
        folder.chmod(0o755)


def irp(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["irp", *arguments])
    with as_anybody():
        try:
            command.main()
        except SystemExit as ended:
            return int(ended.code or 0)
    return 0


def test_what_only_reads_works(
    read_only: Path, finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ("-S", f"tracking.uri=sqlite:///{read_only}/mlflow.db")
    run = f"runs/{finished.name}"
    for asked in (["runs"], ["show", run], ["audit", "verify", run, *store]):
        assert irp(monkeypatch, *asked) == 0, asked
        said = capsys.readouterr()
        assert finished.name in said.out and "Traceback" not in said.err, asked


@pytest.mark.parametrize("what", ["prepare", "refine", "resume", "checkout"])
def test_what_writes_says_so_in_one_sentence(
    what: str,
    read_only: Path,
    finished: Path,
    plant: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = ("-S", f"tracking.uri=sqlite:///{read_only}/mlflow.db")
    run = f"runs/{finished.name}"
    asked = {
        "prepare": ["prepare", str(plant), "--no-prefect"],
        "refine": ["refine", str(plant), "--no-prefect", *store],
        "resume": ["refine", "--resume", run, "--no-prefect"],
        "checkout": ["audit", "checkout", run, "--to", "out", *store],
    }[what]
    before = sorted(read_only.rglob("*"))
    assert irp(monkeypatch, *asked) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("irp: ", "Traceback"))]
    assert len(said) == 1 and "may not be" in said[0] and "Permission denied" in said[0]
    assert sorted(read_only.rglob("*")) == before
