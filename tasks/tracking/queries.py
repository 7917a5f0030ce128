"""Queries to MLflow's store: every page of an answer, and names that its filters know no escape for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

import tasks.runtime.environment  # noqa: F401  (quiets MLflow)
from irp_core.config import Params
from irp_core.errors import InputError
from tasks.tracking.database import ensure_database

__all__ = [
    "all_versions",
    "artifacts_below",
    "client_of",
    "experiments",
    "model_version",
    "registered_versions",
    "runs_tagged",
    "versions_of",
]


_ANSWER_SECONDS = 10


def client_of(params: Params) -> MlflowClient:
    """A client of the configured tracking store; a local database that is not there yet is made.

    Raises:
        InputError: the store cannot be opened.
    """
    try:
        ensure_database(params.tracking.uri)
        _check_answers(params.tracking.uri)
        client = MlflowClient(tracking_uri=params.tracking.uri)
        client.search_experiments(max_results=1)
    except InputError:
        raise
    except Exception as error:  # sqlalchemy, requests and MLflow each raise their own
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"tracking.uri {params.tracking.uri!r} cannot be opened ({first_line}).") from None
    return client


def _check_answers(uri: str) -> None:
    """MLflow tries again for minutes, silently, before it says that nobody answers."""
    if not uri.startswith(("http://", "https://")):
        return
    import httpx

    try:
        httpx.get(uri, timeout=_ANSWER_SECONDS)
    except (httpx.TransportError, httpx.InvalidURL) as error:
        raise InputError(
            f"tracking.uri {uri!r}: expected an MLflow server, found none within {_ANSWER_SECONDS} s ({error}); "
            "start it, or name another store."
        ) from None


def model_version(model: str, client: MlflowClient) -> Any | None:
    """The registered version that `NAME` (its newest), `NAME/version` or `NAME@alias` means, or None."""
    match = re.fullmatch(r"(?:models:/)?([^/@]+)(?:/(\d+)|@([\w-]+))?", model)
    if match is None:
        return None
    name, version, alias = match[1], match[2], match[3]
    try:
        if alias:
            return client.get_model_version_by_alias(name, alias)
        if version:
            return client.get_model_version(name, version)
        # Among the latest of each stage is the latest of all.
        return max(client.get_registered_model(name).latest_versions, key=lambda v: int(v.version), default=None)
    except MlflowException:
        return None


def runs_tagged(
    client: MlflowClient, experiments: list[str], tags: Mapping[str, str], view: int = ViewType.ACTIVE_ONLY
) -> Iterator[Run]:
    """The runs that have all of `tags`, newest first.

    MLflow's filters know no escape for a quote: it stands there for any character, and what is found is compared.
    """
    clauses = []
    for key, value in tags.items():
        pattern = re.sub(r"""['"\\]""", "_", value)
        clauses.append(f"tags.`{key}` {'=' if pattern == value else 'LIKE'} '{pattern}'")
    found = _pages(
        client.search_runs,
        experiment_ids=experiments,
        filter_string=" and ".join(clauses),
        run_view_type=view,
        order_by=["attributes.start_time DESC"],
        max_results=1000,
    )
    return (run for run in found if all(run.data.tags.get(key) == value for key, value in tags.items()))


def registered_versions(client: MlflowClient) -> dict[str, list[str]]:
    """MLflow run id → the registered models made of it, as `NAME/version` with their aliases."""
    aliases: dict[tuple[str, str], list[str]] = {}
    for model in _pages(client.search_registered_models):
        for alias, version in dict(model.aliases).items():
            aliases.setdefault((model.name, str(version)), []).append(f"@{alias}")
    found: dict[str, list[str]] = {}
    for version in all_versions(client):
        name = " ".join([f"{version.name}/{version.version}", *aliases.get((version.name, str(version.version)), [])])
        found.setdefault(str(version.run_id), []).append(name)
    return found


def all_versions(client: MlflowClient, name: str | None = None) -> Iterator[Any]:
    """The versions of all registered models, or of one; with their aliases where one is named."""
    if name is None:
        yield from _pages(client.search_model_versions)
        return
    try:
        aliases = dict(client.get_registered_model(name).aliases)
    except MlflowException:  # nothing was registered yet
        return
    for version in _pages(client.search_model_versions, filter_string=f"name='{name}'"):
        version.aliases = [alias for alias, number in aliases.items() if str(number) == str(version.version)]
        yield version


def versions_of(client: MlflowClient, mlflow_run: str) -> list[Any]:
    """The registered versions that say that they are of this run."""
    return list(_pages(client.search_model_versions, filter_string=f"run_id='{mlflow_run}'"))


def artifacts_below(client: MlflowClient, mlflow_run: str, folder: str) -> Iterator[str]:
    """The files that the store has in a folder of a run's artifacts, and in those within it."""

    def below(path: str) -> Iterator[str]:
        for found in list_artifacts(path):
            if found.is_dir:
                yield from below(found.path)
            else:
                yield found.path

    # MLflow also lists what a model has that somebody logged for the run under this name, and looks for one in the
    # database at every folder: where there is none, the run's own store is asked.
    own = get_artifact_repository(client.get_run(mlflow_run).info.artifact_uri, tracking_uri=client.tracking_uri)
    alone = len(client.list_artifacts(mlflow_run, folder)) == len(own.list_artifacts(folder))
    list_artifacts = own.list_artifacts if alone else partial(client.list_artifacts, mlflow_run)
    yield from below(folder)


def experiments(client: MlflowClient) -> list[str]:
    """The ids of all experiments that are in use."""
    return [experiment.experiment_id for experiment in _pages(client.search_experiments)]


def _pages(search: Callable[..., Any], **query: Any) -> Iterator[Any]:
    """Everything that one of MLflow's searches finds; it hands out a page at a time."""
    token = None
    while True:
        page = search(**query, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
