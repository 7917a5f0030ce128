"""Aliases and records agree, whatever a kill left; a rollback leaves the next promotion to a person."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


@pytest.mark.parametrize("first", ["the other one's", "ours"])
def test_two_machines_that_promote_at_once_find_out_and_the_last_one_stands(
    first: str, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two projects, so that no lock is shared, with a client each on one store; both saw version 1 in service."""
    for place in ("left", "right"):
        (tmp_path / place).mkdir()
    with contextlib.chdir(tmp_path / "left"), open_registry(LINE, params) as ours:
        ours.promote("1", "ada", "the first")
        begin = registries.begin_record

        def in_between(*arguments: Any, **values: Any) -> Any:
            monkeypatch.setattr(registries, "begin_record", begin)
            mine = None if first == "the other one's" else begin(*arguments, **values)
            with contextlib.chdir(tmp_path / "right"):
                other = Registry(LINE, params, client_of(params))
                made = other.promote("3", "bob", "elsewhere")
            assert made.replaced == ("1" if mine is None else "2")  # the truth, whatever it began with
            return mine or begin(*arguments, **values)

        monkeypatch.setattr(registries, "begin_record", in_between)
        if first == "ours":
            with pytest.raises(InputError, match=r"line3/3 was promoted by bob elsewhere, which stands"):
                ours.promote("2", "ada", "better")
            served = ["1", "2", "3"]
        else:
            assert ours.promote("2", "ada", "better").replaced == "3"
            served = ["1", "3", "2"]
        records = ours.records()
        assert [record.version for record in records] == served
        assert [record.replaced for record in records] == [None, *served[:-1]]
        assert all(record.done for record in records)
        assert ours.aliases() == {"champion": served[-1], "previous": served[-2]}
        assert ours.roll_back("ada", "neither").replaced == served[-2]


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
