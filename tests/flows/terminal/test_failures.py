"""What the machine did to a command is one sentence: full disks, permissions, servers that no longer answer."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

import flows.cli.main as command
from flows.terminal.failures import sentence
from tasks.runtime.run_log import log_of, logged

pytestmark = pytest.mark.trust

ROOT = Path(__file__).parents[3]


def _os(code: int, name: str | None = "runs/a") -> OSError:
    return OSError(code, os.strerror(code), name)


FAILURES: dict[str, tuple[Callable[[], BaseException], str]] = {
    "a full disk": (lambda: _os(errno.ENOSPC), "runs/a: no space is left on the disk"),
    "a used up quota": (lambda: _os(errno.EDQUOT), "no space is left"),
    "a full disk under safetensors": (
        lambda: RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
        "no space is left",
    ),
    "a full disk under SQLite": (lambda: sqlite3.OperationalError("database or disk is full"), "no space is left"),
    "a folder of somebody else's": (lambda: _os(errno.EACCES), "runs/a: may not be read or written"),
    "a disk that is only read": (lambda: _os(errno.EROFS), "may not be read or written"),
    "a store that is only read": (
        lambda: sqlite3.OperationalError("attempt to write a readonly database"),
        "may not be read or written",
    ),
    "a broken disk": (lambda: _os(errno.EIO), "runs/a: Input/output error"),
    "a server that is gone": (lambda: httpx.ConnectError("All connection attempts failed"), "no longer answers"),
    "a locked store": (lambda: sqlite3.OperationalError("database is locked"), "tracking store does not work"),
    "no memory": (lambda: MemoryError(), "memory is used up"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_of_the_machine_is_one_sentence_with_what_is_safe(name: str) -> None:
    make, message = FAILURES[name]
    said = sentence(make())
    assert said is not None
    assert message in said
    assert "is safe" in said
    assert "\n" not in said
    wrapped = RuntimeError("a task failed")
    wrapped.__cause__ = make()
    assert sentence(wrapped) == said


def test_a_mistake_of_ours_is_none() -> None:
    assert sentence(KeyError("threshold")) is None
    assert sentence(AssertionError()) is None


def test_the_command_says_it_and_keeps_the_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> Any:
        raise _os(errno.ENOSPC, "runs/a/scores.parquet")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "app", full)
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "runs/a/scores.parquet: no space is left" in said
    assert "Traceback" in (tmp_path / ".irp" / "errors.log").read_text()


def test_after_a_silent_server_nothing_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def silent(*_: object, **__: object) -> Any:
        raise httpx.ConnectError("All connection attempts failed")

    left: list[int] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "app", silent)
    monkeypatch.setattr(os, "_exit", left.append)
    with pytest.raises(SystemExit):
        command.main()
    assert left == [1]
    assert "A server no longer answers" in capsys.readouterr().err


def test_a_run_has_one_log_with_its_steps_and_the_reason_and_the_terminal_names_it(
    in_workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import flows.refine as refining

    (log,) = in_workspace.glob("*.log")
    told = log.read_text()
    for step in ("iterations/00/train: made in", "iterations/01/decide: made in", "operating: made in"):
        assert f"{in_workspace.name}/{step}" in told
    assert "Finished in state Completed()" in told and f"ends: the run {in_workspace.name}" in told

    def broken(*_: object) -> None:
        raise RuntimeError("the step failed") from _os(errno.ENOSPC, "runs/a/scores.parquet")

    copy = tmp_path / "runs" / in_workspace.name
    shutil.copytree(in_workspace, copy)
    monkeypatch.setattr(refining, "start_parent", lambda _: "")
    monkeypatch.setattr(refining, "fail_parent", lambda *_: None)
    monkeypatch.setattr(refining, "_refine_and_report", broken)
    monkeypatch.setattr(sys, "argv", ["irp", "refine", "--resume", str(copy)])
    monkeypatch.setenv("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "scores.parquet: no space is left" in said
    named = Path(said.split("(Log: ")[1].rstrip(")"))
    assert (tmp_path / named).samefile(copy / log.name)
    told = (copy / log.name).read_text().removeprefix(told)
    assert "RuntimeError: the step failed" in told and "OSError: [Errno 28]" in told


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError) as raised, logged(tmp_path / "no folder" / "run.log", "a run"):
        logging.getLogger("irp_core.run").warning("damaged")
        raise KeyError("x")
    assert log_of(raised.value) is None
    assert "Logging error" not in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:Artifact creation outside of a flow or task run:FutureWarning")
def test_a_prefect_page_that_is_slow_to_answer_is_not_waited_for(
    in_workspace: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Prefect itself waits a minute for an answer, then asks again."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from tasks.reports import results

    monkeypatch.setattr(results, "_ANSWER_SECONDS", 0.05)
    began = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/api"
        with temporary_settings({PREFECT_API_URL: address}):
            results.publish_artifacts.fn(str(in_workspace))
    assert time.monotonic() - began < 30
    assert "Prefect's page does not show the results (ReadTimeout)" in caplog.text


def test_a_sigterm_is_said_and_has_its_own_code() -> None:
    code = (
        "import os, signal, flows.cli.main as c\n"
        "c.app = lambda **_: os.kill(os.getpid(), signal.SIGTERM) or __import__('time').sleep(5)\n"
        "c.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 143
    assert "Stopped (SIGTERM); the same command goes on" in done.stderr
