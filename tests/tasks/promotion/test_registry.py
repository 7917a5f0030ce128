"""Aliases and records agree, whatever a kill left; a rollback leaves the next promotion to a person."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from irp_core.config import Params
from irp_core.config.lines import Line
from irp_core.errors import InputError
from irp_core.line.definition import line_params
from tasks.promotion import registry as registries
from tasks.promotion.registry import Registry, open_registry
from tasks.tracking.queries import client_of

LINE = Line(name="line3", inbox="in")


def params_in(folder: Path) -> Params:
    line = LINE.model_copy(update={"params": {"tracking": {"uri": f"sqlite:///{folder}/mlflow.db"}}})
    return line_params(line, Path())


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with three versions of a line."""
    folder = tmp_path_factory.mktemp("registry")
    client: MlflowClient = client_of(params_in(folder))
    client.create_registered_model("line3")
    for number in (1, 2, 3):
        client.create_model_version("line3", source=f"file://{folder}/model-{number}")
    return folder / "mlflow.db"


@pytest.fixture
def params(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """The same, in a place of its own."""
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(store, tmp_path / "mlflow.db")
    return params_in(tmp_path)


@pytest.fixture
def registry(params: Params) -> Iterator[Registry]:
    with open_registry(LINE, params) as opened:
        yield opened


def test_a_rollback_goes_back_step_by_step_and_holds_the_policy(registry: Registry) -> None:
    for number in "123":
        registry.enter(number, int(number), {})
        assert registry.aliases()["challenger"] == number
        registry.promote(number, "policy always", "no check speaks against it")
    assert registry.aliases() == {"champion": "3", "previous": "2"} and registry.held() is None
    registry.roll_back("ada", "false alarms")
    assert registry.aliases() == {"champion": "2", "previous": "1"}
    assert registry.state("3") == "rolled back"
    held = registry.held()
    assert held is not None and (held.by, held.version) == ("ada", "3")
    registry.roll_back("ada", "still")
    assert registry.aliases() == {"champion": "1"}
    with pytest.raises(InputError, match="expected a version in service before 1, found none"):
        registry.roll_back("ada", "more")
    registry.promote("2", "ada", "it was the camera")
    assert registry.held() is None and registry.aliases() == {"champion": "2", "previous": "1"}


def test_what_a_kill_left_half_done_the_next_one_completes(
    params: Params, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.promote("1", "ada", "the first")
    registry.enter("2", 2, {})
    with monkeypatch.context() as patch:
        patch.setattr(Registry, "tag", _killed)  # after the aliases, before the version's state
        with pytest.raises(KeyboardInterrupt):
            registry.promote("2", "ada", "better")
    assert [record.done for record in registry.records()] == [True, False]
    monkeypatch.setattr(registries, "FileLock", _NoLock)  # the fixture holds it
    with open_registry(LINE, params) as again:
        assert again.aliases() == {"champion": "2", "previous": "1"}
        assert again.state("2") == "promoted"
        assert all(record.done for record in again.records())


def test_who_and_why_are_asked_for_and_what_is_in_service_is_not_refused(registry: Registry) -> None:
    with pytest.raises(InputError, match="expected who decides"):
        registry.promote("1", "ada", " ")
    registry.promote("1", "ada", "the first")
    for refused, message in (
        (lambda: registry.promote("1", "ada", "again"), "is in service already"),
        (lambda: registry.refuse("1", "ada", "no"), "is in service; `irp rollback line3`"),
        (lambda: registry.promote("9", "ada", "no such"), "no such version"),
        (lambda: registry.roll_back("ada", "no", "2"), "expected a version that was in service before"),
    ):
        with pytest.raises(InputError, match=message):
            refused()
    registry.refuse("2", "ada", "misses more")
    assert registry.state("2") == "refused" and registry.aliases() == {"champion": "1"}


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


class _NoLock:
    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass
