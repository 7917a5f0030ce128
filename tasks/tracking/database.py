"""A local MLflow database appears whole or not at all, and one that was broken off in the making is named.

MLflow makes its tables by some fifty migrations, in place: whoever is killed among them, or starts beside another,
leaves a file that no MLflow opens again.
"""

from __future__ import annotations

import sqlite3
import uuid
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from filelock import FileLock
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from irp_core.errors import InputError

__all__ = ["ensure_database"]


def ensure_database(uri: str) -> None:
    """Make the SQLite file that `uri` names where there is none; other stores are left alone.

    It is made under a lock, in a file beside it that is renamed when it is complete.

    Raises:
        InputError: the file is no database, or one that was broken off in the making.
    """
    path = _sqlite_file(uri)
    if path is None:
        return
    if not _has_content(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            if not _has_content(path):
                _make(path)
    _check(path)


def _sqlite_file(uri: str) -> Path | None:
    try:
        url = make_url(uri)
    except ArgumentError:  # a server's address, a folder
        return None
    if url.get_backend_name() != "sqlite" or url.database in (None, "", ":memory:"):
        return None
    return Path(str(url.database))


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _make(path: Path) -> None:
    # Not earlier: a question to a server needs none of it.
    from mlflow.store.tracking import DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    for left in path.parent.glob(f".{path.name}.*.tmp*"):  # by whoever was killed here: the lock is ours
        left.unlink()
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp").resolve()
    try:
        # The store's own constructor: tables, migrations, and the default experiment.
        store = SqlAlchemyStore(f"sqlite:///{temporary}", DEFAULT_LOCAL_FILE_AND_ARTIFACT_PATH)
        store.engine.dispose()
        temporary.replace(path)
    finally:
        for left in path.parent.glob(f"{temporary.name}*"):
            left.unlink()


def _check(path: Path) -> None:
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro", uri=True)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            stamped = "alembic_version" in tables and database.execute("SELECT 1 FROM alembic_version").fetchone()
            runs = database.execute("SELECT count(*) FROM runs").fetchone()[0] if "runs" in tables else 0
    except sqlite3.OperationalError:  # locked, or not to be read: MLflow will say so
        return
    except sqlite3.DatabaseError as error:
        raise InputError(f"{path}: expected an MLflow database, found none ({error}).") from None
    left = sorted(name for name in tables if name.startswith("_alembic_tmp_"))
    if stamped and not left:
        return
    if runs == 0:
        remedy = "nothing was recorded in it yet: delete it, and run the same command again"
    else:
        remedy = (
            f"it holds {runs} runs: put a copy of before in its place, or drop {', '.join(left) or 'nothing'} "
            f"and run `mlflow db upgrade sqlite:///{path}`"
        )
    raise InputError(f"{path}: expected a complete MLflow database, found one whose making was broken off; {remedy}.")
