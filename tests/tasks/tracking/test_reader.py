"""What is read back from MLflow: by any name, from every page, and never a false alarm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from irp_core.config import Params
from irp_core.errors import InputError
from irp_core.hashing import file_sha256
from irp_core.params_file import load_params
from tasks.tracking.artifacts import FILES_TAG, log_files
from tasks.tracking.experiment import experiment_of
from tasks.tracking.finding import all_runs, find_run
from tasks.tracking.queries import model_version, registered_versions, runs_tagged
from tasks.tracking.reader import TrackedRun
from tasks.tracking.results import register
from tasks.tracking.writer import _find_or_create


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> Params:
    folder = tmp_path_factory.mktemp("mlflow")
    return load_params(None, [f"tracking.uri=sqlite:///{folder}/mlflow.db"])


@pytest.fixture
def client(params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.chdir(tmp_path)
    return MlflowClient(params.tracking.uri)


def make_run(client: MlflowClient, params: Params, run_id: str, directory: str = "/runs") -> str:
    tags = {"irp.run_id": run_id, "irp.iteration": "all", "irp.directory": f"{directory}/{run_id}"}
    return _find_or_create(client, experiment_of(client, params), run_id, tags)


@pytest.mark.parametrize("name", ["it's", 'a "quoted" one', """both ' and " """, "back\\slash"])
def test_a_run_is_found_again_whatever_is_in_its_path(client: MlflowClient, params: Params, name: str) -> None:
    parent = make_run(client, params, f"{name}-irp-1", f"/plants/{name}")
    other = make_run(client, params, f"{name}-irp-1".replace("'", "x").replace('"', "x").replace("\\", "x"))
    assert other != parent
    assert make_run(client, params, f"{name}-irp-1", f"/plants/{name}") == parent
    assert find_run(f"{name}-irp-1", params)[0].parent.info.run_id == parent


def test_a_registered_models_name_may_have_a_quote(client: MlflowClient, params: Params) -> None:
    named = params.model_copy(update={"tracking": params.tracking.model_copy(update={"registered_model": "Ada's"})})
    first, second = (make_run(client, params, f"plant-irp-{k}") for k in (1, 2))
    for parent in (first, second, first):  # the last one is registered already
        register(client, named, parent)
    newest = model_version("Ada's", client)
    assert newest is not None
    assert (int(newest.version), newest.run_id) == (2, second)
    assert find_run("Ada's/1", params)[0].run_id == "plant-irp-1"


def test_every_page_is_read(client: MlflowClient, params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    for k in range(5):
        client.create_registered_model(f"paged-{k}")
        client.create_experiment(f"paged-{k}")
        parent = client.create_run(client.get_experiment_by_name(f"paged-{k}").experiment_id)
        client.create_model_version(f"paged-{k}", f"{parent.info.artifact_uri}/model", parent.info.run_id)
        client.set_registered_model_alias(f"paged-{k}", "champion", "1")
        for key, value in (("irp.run_id", f"paged-{k}"), ("irp.iteration", "all")):
            client.set_tag(parent.info.run_id, key, value)
    for search in ("search_registered_models", "search_model_versions", "search_experiments", "search_runs"):
        original = getattr(MlflowClient, search)

        def two_at_a_time(self: MlflowClient, *words: Any, _search: Any = original, **query: Any) -> Any:
            return _search(self, *words, **{**query, "max_results": 2})

        monkeypatch.setattr(MlflowClient, search, two_at_a_time)
    found = registered_versions(client)
    names = {f"paged-{k}/1 @champion" for k in range(5)}
    assert names <= {version for versions in found.values() for version in versions}
    assert {f"paged-{k}" for k in range(5)} <= {run.run_id for run in all_runs(params)}


def test_a_deleted_experiment_is_one_sentence_and_its_registered_model_still_answers(
    client: MlflowClient, params: Params
) -> None:
    gone = params.model_copy(
        update={"tracking": params.tracking.model_copy(update={"experiment": "gone", "registered_model": "survivor"})}
    )
    parent = make_run(client, gone, "gone-irp-1")
    tags = {"irp.run_id": "gone-irp-1", "irp.iteration": "0", "mlflow.parentRunId": parent}
    experiment = client.get_experiment_by_name("gone").experiment_id
    nested = client.create_run(experiment, tags=tags).info.run_id
    register(client, gone, parent)
    client.delete_experiment(experiment)
    with pytest.raises(InputError, match=r"tracking.experiment 'gone': expected one that is in use, found a deleted"):
        experiment_of(client, gone)
    tracked, _ = find_run("survivor", params)
    assert [model.info.run_id for model in tracked.models] == [nested]
    assert list(runs_tagged(client, [experiment], {"irp.run_id": "gone-irp-1"})) == []


def test_an_upload_that_is_killed_before_its_tag_is_no_tampering(
    client: MlflowClient, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = make_run(client, params, "killed-irp-1")
    table = tmp_path / "table.txt"
    table.write_text("first")
    log_files(client, parent, {"tables": [table]})

    def killed(mlflow_run: str, key: str, value: str) -> None:
        if key == FILES_TAG:
            raise KeyboardInterrupt
        MlflowClient.set_tag(client, mlflow_run, key, value)

    def tracked() -> TrackedRun:
        return TrackedRun(client, client.get_run(parent))

    table.write_text("second")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(client, "set_tag", killed)
        log_files(client, parent, {"tables": [table]})
    stored = tracked().file("tables/table.txt")
    assert stored.read_text() == "second"
    log_files(client, parent, {"tables": [table]})
    assert tracked().known_files() == {"tables/table.txt": file_sha256(table)}
    for content in ("third", "first"):  # neither what was never logged nor what was replaced passes for it
        stored.write_text(content)
        with pytest.raises(InputError, match="changed after it was logged"):
            tracked().file("tables/table.txt")


def test_nothing_is_fetched_twice_for_one_question(
    client: MlflowClient, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = make_run(client, params, "remote-irp-1")
    table = tmp_path / "table.txt"
    table.write_text("content")
    log_files(client, parent, {"tables": [table]})
    fetched: list[str] = []

    def download(run_id: str, path: str, to: str) -> str:
        fetched.append(path)
        return MlflowClient.download_artifacts(client, run_id, path, to)

    monkeypatch.setattr("tasks.tracking.reader._local", lambda run: None)
    monkeypatch.setattr(client, "download_artifacts", download)
    run = TrackedRun(client, client.get_run(parent))
    assert {run.file("tables/table.txt", verify=verify).read_text() for verify in (False, False, True)} == {"content"}
    assert fetched == ["tables/table.txt"]


def test_a_check_that_breaks_down_over_dvc_is_a_finding() -> None:
    from dvc.exceptions import DvcException

    from tasks.audit.verify import _carried_out

    def checks() -> Any:
        yield from ()
        raise DvcException("the remote is gone")

    (found,) = _carried_out("DVC list", checks())
    assert (found.status, found.detail) == ("failed", "cannot be recomputed: the remote is gone")
