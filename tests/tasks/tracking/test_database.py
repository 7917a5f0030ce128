"""A first run's MLflow database: whole or not there, whoever is killed or starts at the same time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing.process import BaseProcess
from pathlib import Path

import alembic.operations
import pytest

from flows.cli.options import read_params
from irp_core.errors import InputError
from irp_core.params_file import load_params
from tasks.tracking.database import ensure_database
from tasks.tracking.queries import client_of

pytestmark = pytest.mark.trust


def _open(folder: Path) -> None:
    params = load_params(None, [f"tracking.uri=sqlite:///{folder}/mlflow.db"])
    client_of(params).create_experiment(f"of {os.getpid()}")


def _tables(file: Path) -> set[str]:
    with sqlite3.connect(file) as database:
        return {name for (name,) in database.execute("SELECT name FROM sqlite_master")}


@pytest.mark.parametrize("migration", [0, 20, 60])
def test_a_migration_that_breaks_off_leaves_nothing(
    migration: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = iter(range(1000))
    execute = alembic.operations.Operations.add_column

    def broken(self: object, *arguments: object, **options: object) -> object:
        if next(count) == min(migration, 5):
            raise KeyboardInterrupt
        return execute(self, *arguments, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(alembic.operations.Operations, "add_column", broken)
        ensure_database(f"sqlite:///{tmp_path}/mlflow.db")
    assert [file.name for file in tmp_path.iterdir()] in ([], [".mlflow.db.lock"])
    if migration == 0:  # seconds each
        _open(tmp_path)


@pytest.fixture(scope="module")
def apart() -> Iterator[Executor]:
    """One process that has imported MLflow and does nothing else: first runs are forked from it, without the seconds
    that each would take to import it."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        yield executor


def _start(folder: Path) -> BaseProcess:
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401  (once, before the fork)

    process = multiprocessing.get_context("fork").Process(target=_open, args=(folder,))
    process.start()
    return process


def _two_at_once(folder: Path) -> list[int | None]:
    processes = [_start(folder) for _ in range(2)]
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def _killed(folder: Path) -> int | None:
    process = _start(folder)
    while not [f for f in folder.glob(".mlflow.db.*.tmp") if f.stat().st_size > 50_000] and process.is_alive():
        time.sleep(0.01)
    process.kill()
    process.join()
    return process.exitcode


def test_two_first_runs_at_once(tmp_path: Path, apart: Executor) -> None:
    assert apart.submit(_two_at_once, tmp_path).result() == [0, 0]
    client = client_of(load_params(None, [f"tracking.uri=sqlite:///{tmp_path}/mlflow.db"]))
    assert len(client.search_experiments()) == 3


def test_a_kill_while_the_database_is_made(tmp_path: Path, apart: Executor) -> None:
    assert apart.submit(_killed, tmp_path).result() == -signal.SIGKILL
    assert not (tmp_path / "mlflow.db").exists()
    _open(tmp_path)
    assert not list(tmp_path.glob("*.tmp*"))
    assert not any(name.startswith("_alembic_tmp") for name in _tables(tmp_path / "mlflow.db"))


def test_a_half_migrated_database_is_named_with_the_remedy(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE _alembic_tmp_params (key TEXT)")
        database.execute("CREATE TABLE runs (run_uuid TEXT)")
    params = load_params(None, [f"tracking.uri=sqlite:///{file}"])
    with pytest.raises(InputError, match=r"mlflow.db: .* broken off; nothing was recorded in it yet: delete it"):
        client_of(params)
    with sqlite3.connect(file) as database:
        database.execute("INSERT INTO runs VALUES ('a')")
    with pytest.raises(InputError, match=r"holds 1 runs: .* drop _alembic_tmp_params"):
        client_of(params)
    file.write_text("no database at all, but a text of some length")
    with pytest.raises(InputError, match="expected an MLflow database, found none"):
        client_of(params)


def test_other_stores_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for uri in ("http://127.0.0.1:1", "postgresql://nobody@127.0.0.1:1/x", "folder", "sqlite:///:memory:"):
        ensure_database(uri)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_does_not_answer_is_one_sentence_and_soon() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # taken, and nobody listens
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(InputError, match=f"tracking.uri '{uri}': expected an MLflow server, found none"):
            client_of(load_params(None, [f"tracking.uri={uri}"]))
        assert time.monotonic() - started < 60  # on a busy machine; MLflow itself tries for minutes


def test_the_store_that_the_environment_names_is_obeyed_and_an_override_counts_more(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tasks.runtime.environment.TRACKING_URI", "sqlite:///elsewhere.db")
    assert read_params(None, None).tracking.uri == "sqlite:///elsewhere.db"
    Path("params.yaml").write_text("tracking: {uri: 'sqlite:///of-the-file.db'}")
    assert read_params(None, None).tracking.uri == "sqlite:///elsewhere.db"
    assert read_params(None, ["tracking.uri=sqlite:///mine.db"]).tracking.uri == "sqlite:///mine.db"
