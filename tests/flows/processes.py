"""The `irp` command in a process of its own, without the seconds that importing the libraries takes each time.

The processes are forked from one that has imported them and done nothing else. A command that starts from nothing, with
a Prefect server of its own, is tested by the demo (`tests/flows/cli/test_main.py`).
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from flows.cli.session import OF_COMMANDS

__all__ = ["Command", "forks", "irp"]

ROOT = Path(__file__).parents[2]
_FORKS = multiprocessing.get_context("forkserver")
# What the commands import; `environment` before the libraries that it quiets, as they do it.
_IMPORTED = ["tasks.runtime.environment", "flows.cli.main", "flows.compare", "flows.line.serving", "tasks.scoring"]


@dataclass(frozen=True)
class Command:
    """A command at work."""

    process: BaseProcess
    output: Path

    def wait(self) -> int:
        """Its exit code; negative: the signal that ended it."""
        self.process.join()
        assert self.process.exitcode is not None
        return self.process.exitcode

    @property
    def stdout(self) -> str:
        return self.output.with_suffix(".stdout").read_text(encoding="utf-8")

    @property
    def stderr(self) -> str:
        return self.output.with_suffix(".stderr").read_text(encoding="utf-8")


def forks() -> ForkServerContext:
    """Where processes are forked from, at work."""
    assert "PREFECT_API_URL" in os.environ, "the test has to ask for the fixture prefect_api"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        for name, value in OF_COMMANDS.items():
            patch.setenv(name, value)
        _FORKS.set_forkserver_preload(_IMPORTED)
        forkserver.ensure_running()
    return _FORKS


def irp(*arguments: str, cwd: Path, output: Path | None = None) -> Command:
    """Start `irp` with these arguments in `cwd` with this process's environment; what it says goes to files beside it,
    or beside `output`.

    Prefect read its settings when the libraries were imported: the session's server (`prefect_api`) must be there.
    """
    output = output or cwd.with_name(f"{cwd.name}-output")
    for suffix in (".stdout", ".stderr"):  # there to be read while it starts
        output.with_suffix(suffix).write_bytes(b"")
    process = forks().Process(target=_run, args=(arguments, cwd, output, dict(os.environ)))
    process.start()
    return Command(process, output)


def _run(arguments: tuple[str, ...], cwd: Path, output: Path, environment: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    for stream, suffix in ((sys.stdout, ".stdout"), (sys.stderr, ".stderr")):
        opened = os.open(output.with_suffix(suffix), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, stream.fileno())
        os.close(opened)
    sys.argv = ["irp", *arguments]
    from flows.cli.main import main

    main()
