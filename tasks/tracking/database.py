"""A local MLflow database appears whole or not at all, and one that was broken off in the making is named.

MLflow makes its tables by some fifty migrations, in place: whoever is killed among them, or starts beside another,
leaves a file that no MLflow opens again.
"""

from __future__ import annotations

import logging
import sqlite3
import uuid
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, unquote, urlparse

from filelock import FileLock
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from irp_core.errors import InputError

__all__ = ["ARTIFACTS", "bring_addresses_along", "ensure_database"]

ARTIFACTS = "mlartifacts"
"""The folder of the artifacts, beside a local database."""

_LOG = logging.getLogger(__name__)
_ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("logged_models", "artifact_location"),
)


def ensure_database(uri: str) -> None:
    """Make the SQLite file that `uri` names where there is none; other stores are left alone.

    It is made under a lock, in a file beside it that is renamed when it is complete. Of one that was moved together
    with its artifacts the addresses in it are brought along.

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
    bring_addresses_along(path)


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


def bring_addresses_along(path: Path) -> None:
    """Rewrite the whole addresses that MLflow keeps of artifacts, where the project was moved or copied since.

    A project is one whose artifacts lie beside its database (`mlartifacts/EXPERIMENT`).
    """
    here = path.resolve().parent
    try:
        with closing(sqlite3.connect(path)) as database:
            known = {str(row[0]) for row in database.execute("SELECT DISTINCT artifact_location FROM experiments")}
            for before in {_former_project(location, here) for location in known} - {None}:
                assert before is not None
                with database:
                    _rewrite(database, before, here)
                _LOG.warning("%s: the project was moved from %s; the addresses in it were brought along.", path, before)
    except sqlite3.OperationalError as error:  # locked, or only to be read: artifacts will be missing, and that is said
        _LOG.info("%s: the addresses could not be looked at (%s)", path, error)


def _former_project(location: str, here: Path) -> Path | None:
    """The project that an experiment's artifacts are said to lie in, where it is not this one although they do."""
    address = urlparse(location)
    said = Path(unquote(address.path))
    if address.scheme != "file" or said.parent.name != ARTIFACTS or said.parents[1] == here:
        return None
    own = here / ARTIFACTS / said.name
    return said.parents[1] if own.is_dir() and not (said.exists() and said.samefile(own)) else None


def _rewrite(database: sqlite3.Connection, before: Path, here: Path) -> None:
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    for table, column in _ADDRESSES:
        if table in tables:
            _replace(database, table, column, f"{before.as_uri()}/{ARTIFACTS}/", f"{here.as_uri()}/{ARTIFACTS}/")
    _replace(database, "tags", "value", f"{before}/", f"{here}/", "key = 'irp.directory'")


def _replace(database: sqlite3.Connection, table: str, column: str, before: str, after: str, where: str = "1") -> None:
    database.execute(
        f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ? AND {where}",
        (after, len(before) + 1, len(before), before),
    )


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
