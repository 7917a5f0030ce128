"""Train on one clone; answer every question on another, from a tracking server on PostgreSQL and a DVC remote."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pandas as pd
import psycopg
import pytest
from typer.testing import CliRunner

from flows.cli.main import app
from tests.conftest import make_workspace
from tests.flows.harness import refine_in


def _postgres_programs() -> Path | None:
    if found := shutil.which("initdb"):
        return Path(found).parent
    # Debian keeps the server's programs out of the path.
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return versions[-1].parent if versions else None


PROGRAMS = _postgres_programs()
AS_ROOT = os.geteuid() == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def postgres() -> Iterator[str]:
    """A PostgreSQL server of our own; yields its address."""
    assert PROGRAMS is not None
    folder = Path(tempfile.mkdtemp(prefix="irp-postgres-"))
    account: dict[str, str | int] = {}
    if AS_ROOT:  # it refuses to run as root
        account = {"user": "postgres", "group": pwd.getpwnam("postgres").pw_gid}
        shutil.chown(folder, "postgres")
    port = free_port()
    data = folder / "data"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder}
    initdb = [str(PROGRAMS / "initdb"), "-D", str(data), "-U", "irp", "-A", "trust", "--no-sync"]
    subprocess.run(initdb, check=True, **quiet, **account)  # type: ignore[call-overload]
    options = ["-c", f"unix_socket_directories={folder}", "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
    server = subprocess.Popen(
        [str(PROGRAMS / "postgres"), "-D", str(data), "-p", str(port), *options],
        **quiet,  # type: ignore[call-overload]
        **account,
    )
    try:
        address = f"irp@127.0.0.1:{port}/postgres"
        for _ in range(200):  # it listens before it answers
            with suppress(psycopg.OperationalError), psycopg.connect(f"postgresql://{address}", connect_timeout=2):
                break
            time.sleep(0.05)
        yield f"postgresql+psycopg://{address}"
    finally:
        server.terminate()
        server.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def mlflow_server(database: str, folder: Path) -> Iterator[str]:
    """`mlflow server` as a plant would run it: metadata in PostgreSQL, artifacts through the server."""
    port = free_port()
    arguments = ["--backend-store-uri", database, "--artifacts-destination", (folder / "artifacts").as_uri()]
    log = open(folder / "mlflow.log", "wb")  # noqa: SIM115  (closed with the server)
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", *arguments, "--host", "127.0.0.1", f"--port={port}", "--workers=1"],
        cwd=folder,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            with suppress(httpx.TransportError):
                if httpx.get(f"{url}/health", timeout=5).status_code == 200:
                    break
            assert server.poll() is None, (folder / "mlflow.log").read_text()
            time.sleep(0.2)
        yield url
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)
        log.close()


def run(*command: str, cwd: Path) -> None:
    subprocess.run(command, cwd=cwd, check=True, capture_output=True)


@pytest.mark.timeout(600)
@pytest.mark.skipif(PROGRAMS is None, reason="PostgreSQL is not installed")
def test_every_question_is_answered_on_another_machine(
    plant: Path, tmp_path: Path, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "plant"
    shutil.copytree(plant, data)
    first, second = make_workspace(tmp_path / "first"), tmp_path / "second"
    with postgres() as database, mlflow_server(database, tmp_path) as url:
        trained = refine_in(
            first,
            data,
            [f"tracking.uri={url}", "tracking.registered_model=plant", "refinement.removal=max_one"],
        )
        scores, removed = (pd.read_parquet(trained / f"{name}.parquet") for name in ("scores", "removals"))
        assert scores["iteration"].max() == 3
        run(sys.executable, "-m", "dvc", "remote", "add", "-q", "-d", "store", str(tmp_path / "remote"), cwd=first)
        run("git", "add", "-A", ".dvc", "snapshots", cwd=first)
        run("git", "commit", "-qm", "refined", cwd=first)
        run(sys.executable, "-m", "dvc", "push", "-q", cwd=first)
        run("git", "clone", "-q", str(first), str(second), cwd=tmp_path)
        # The machine that trained is gone, and so are its images.
        shutil.rmtree(first)
        shutil.rmtree(data)
        monkeypatch.chdir(second)

        def ask(*arguments: str) -> str:
            answer = CliRunner().invoke(app, [*arguments, "-S", f"tracking.uri={url}"], catch_exceptions=False)
            assert answer.exit_code == 0, answer.output
            return answer.stdout

        def set_of(iteration: int) -> dict[str, str]:
            rows = scores[scores["iteration"] == iteration]
            return dict(zip(rows["image_id"], rows["md5"], strict=True))

        model = json.loads(ask("audit", "model", "plant/1", "--format", "json"))
        assert model["registered_as"] == "plant/1"
        assert model["images_trained_on"] == len(set_of(3))
        assert [row["image_id"] for row in model["removed"]] == removed["image_id"].tolist()
        command = model["get_exactly_these_images"].split()
        assert command == ["dvc", "pull", f"snapshots/{trained.name}/iteration-03.dvc"]
        run(sys.executable, "-m", *command, cwd=second)
        assert hashes(second / "snapshots" / trained.name / "iteration-03") == set_of(3)
        # Without the .dvc files, the hash that MLflow keeps is enough.
        shutil.rmtree(second / "snapshots")
        shutil.rmtree(second / ".dvc" / "cache")
        model = json.loads(ask("audit", "model", f"{trained.name}:3", "--format", "json"))
        assert model["get_exactly_these_images"] == f"irp audit checkout {trained.name}:3"
        ask("audit", "checkout", f"{trained.name}:3", "--to", "audited")
        assert hashes(second / "audited") == set_of(3)
        gone = removed.iloc[0]
        history = json.loads(ask("audit", "image", gone["md5"], "--format", "json"))["history"]
        assert [row["decision"] for row in history] == ["removed"]
        kept = next((second / "audited").rglob("*.jpg"))
        history = json.loads(ask("audit", "image", str(kept), "--format", "json"))["history"]
        assert [row["iteration"] for row in history] == [0, 1, 2, 3]
        assert history[-1]["registered_as"] == "plant/1"
        rows = json.loads(ask("audit", "diff", "plant:0", "plant", "--format", "json"))["difference"]
        assert {row["image_id"] for row in rows} == set(removed["image_id"])
        checks = json.loads(ask("audit", "verify", "plant", "--rescore", "--format", "json"))
        assert checks["failed"] == 0
        assert {finding["status"] for finding in checks["findings"] if finding["check"] != "weights"} == {"ok"}
        assert json.loads(ask("whatif", "plant", "--lambda", "1.05", "--format", "json"))["iterations"]
        # A file that is changed in the server's store is found, although this clone has read the right one before.
        (table,) = (tmp_path / "artifacts").rglob(f"{model_id(model)}/artifacts/tables/scores.parquet")
        table.write_bytes(table.read_bytes() + b"x")
        answer = CliRunner().invoke(app, ["audit", "verify", "plant", "-S", f"tracking.uri={url}"])
        assert answer.exit_code == 1
        assert "tables/scores.parquet was changed" in answer.stdout


def model_id(model: dict[str, str]) -> str:
    return model["MLflow_run"].split()[0]


def hashes(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }
