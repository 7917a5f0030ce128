"""A poll says when a round is due, once an inbox is silent, and what a line of commands makes of mistakes."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import sqlite3
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from irp_core.config.lines import Inbox
from irp_core.demo.line import Batch
from irp_core.line.definition import load_line, write_line
from tests.flows.line.plants import Plant, make_plant
from tests.flows.processes import forks


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory, prefect_api: str) -> Plant:
    return make_plant(tmp_path_factory.mktemp("watched"), [Batch(12, 0)])


def test_polls_tell_when_a_round_is_due_and_when_nothing_comes(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.line import watch as watching

    told: list[str] = []
    ready: list[str] = []
    monkeypatch.setattr(watching, "tell", lambda _line, event, _payload: told.append(event))
    monkeypatch.setattr(watching, "emit_event", lambda event, *_, **__: ready.append(event))

    def poll() -> dict[str, object]:
        time.sleep(0.06)  # longer than the line's `taking.settle`
        return watching.watch("line3", str(plant.project))

    assert poll() == {"taken": 0, "waiting": 0, "due": None}
    plant.night(1)
    assert poll() == {"taken": 0, "waiting": 12, "due": None}
    assert poll() == {"taken": 12, "waiting": 0, "due": "12 new images (a round needs 10)"}
    assert (ready, told) == (["irp.inbox.ready"], [])
    line = plant.line()
    write_line(line.model_copy(update={"taking": Inbox(settle=0.05, silent_after=1)}), plant.project)
    time.sleep(1)
    poll()
    poll()
    assert told == ["inbox_silent"]  # once


def test_the_schedule_of_one_process_is_what_the_line_says(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deployments of `irp line watch`, as a real server takes them; Prefect's `serve` then starts what is due, as
    `test_schedule` and `test_deploying` see it of a worker."""
    from prefect.client.orchestration import get_client

    from flows.line import serving

    served: list[Any] = []
    monkeypatch.setattr(serving, "serve", lambda *deployments, **_: served.extend(deployments))
    line = plant.line().model_copy(update={"cron": "0 2 * * *", "timezone": "Europe/Berlin"})
    serving.watch_line(line, plant.project)
    with get_client(sync_client=True) as client:
        rounds, polls, *others = (client.read_deployment(deployment.apply()) for deployment in served)
        (trigger,) = client.read_automations_by_name("irp.inbox.ready starts retrain/line3")
    assert [found.name for found in others] == ["line3"] and not others[0].schedules  # the monitor: no cron
    (night,), (poll,) = (found.schedules for found in (rounds, polls))
    assert (night.schedule.cron, night.schedule.timezone) == ("0 2 * * *", "Europe/Berlin")
    assert poll.schedule.interval.total_seconds() == line.taking.poll
    assert rounds.parameters == polls.parameters == {"line": "line3", "project": str(plant.project.resolve())}
    # A round that is due waits for the one at work; a poll that is due does not.
    assert [found.global_concurrency_limit.limit for found in (rounds, polls)] == [1, 1]
    assert [found.concurrency_options.collision_strategy for found in (rounds, polls)] == ["ENQUEUE", "CANCEL_NEW"]
    assert trigger.trigger.expect == {"irp.inbox.ready"}
    assert trigger.trigger.match.root == {"prefect.resource.id": "irp.line.line3"}
    assert trigger.actions[0].deployment_id == rounds.id


@pytest.mark.timeout(300)
def test_the_command_starts_rounds_by_number_and_by_the_clock(
    tmp_path: Path, prefect_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`irp line watch` with its own server, until Ctrl-C. The runs are processes of their own, as ever, but forked."""
    from prefect import flow_engine
    from prefect.settings import PREFECT_RUNNER_POLL_FREQUENCY, temporary_settings

    from flows.cli.lines.line import watch
    from flows.line.watch import watch as poll

    plant = make_plant(tmp_path, [Batch(12, 0)], cron="0 2 * * *")
    plant.night(1)
    poll("line3", str(plant.project))  # sees the images for the first time: the next poll takes them
    copy_server(plant.project / ".irp")
    monkeypatch.setattr(flow_engine, "multiprocessing", Forking(multiprocessing.context, forks()))
    for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("PREFECT_SERVER_SERVICES_SCHEDULER_RECENT_DEPLOYMENTS_LOOP_SECONDS", "1")
    monkeypatch.chdir(plant.project)
    seen: list[str] = []
    with temporary_settings({PREFECT_RUNNER_POLL_FREQUENCY: 1}):
        user = threading.Thread(target=at_the_keyboard, args=(seen,))
        # What was started in the background of a shell ignores Ctrl-C, and so do its children.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            user.start()
            watch("line3")
            user.join()
        finally:
            signal.signal(signal.SIGINT, before)
    assert seen == ["AUTOMATION: 1 round, promoted", "SCHEDULE: 1 round, promoted"]  # the second had nothing new
    assert plant.aliases() == {"champion": "1"}


def copy_server(folder: Path) -> None:
    """The session's database of Prefect, which takes seconds to make."""
    folder.mkdir()
    made = Path(os.environ["PREFECT_HOME"])
    shutil.copyfile(made / "prefect.db.made", folder / "prefect.db.made")
    with closing(sqlite3.connect(made / "prefect.db")) as old, closing(sqlite3.connect(folder / "prefect.db")) as new:
        old.backup(new)


@dataclass(frozen=True)
class Forking:
    """As `multiprocessing`, for Prefect, which starts each run from nothing: seconds of imports."""

    context: Any
    forked: ForkServerContext

    def get_context(self, _: str) -> ForkServerContext:
        return self.forked


def at_the_keyboard(seen: list[str]) -> None:
    """What a person does beside `irp line watch`: put the poll and the night to now, look at the rounds, Ctrl-C."""

    def ask(path: str, body: dict[str, Any]) -> Any:
        user, _, password = os.environ["PREFECT_API_AUTH_STRING"].partition(":")
        url = f"{os.environ['PREFECT_API_URL']}/{path}"
        return httpx.post(url, json=body, auth=(user, password), timeout=None).raise_for_status().json()

    def runs(flow: str, state: str) -> list[dict[str, Any]]:
        chosen = {"flows": {"name": {"any_": [flow]}}, "flow_runs": {"state": {"type": {"any_": [state]}}}}
        found: list[dict[str, Any]] = ask("flow_runs/filter", chosen)
        return found

    def set_the_clock_forward(flow: str) -> None:
        while not (due := [run for run in runs(flow, "SCHEDULED") if run["auto_scheduled"]]):
            time.sleep(0.1)
        now = {"type": "SCHEDULED", "state_details": {"scheduled_time": datetime.now(UTC).isoformat()}}
        first = min(due, key=lambda run: run["expected_start_time"])
        ask(f"flow_runs/{first['id']}/set_state", {"state": now, "force": True})

    def ended(how: str) -> None:
        while not any((run["created_by"] or {}).get("type") == how for run in runs("retrain", "COMPLETED")):
            time.sleep(0.1)
        records = sorted(Path("lines/line3/rounds").glob("*/round.json"))
        seen.append(f"{how}: {len(records)} round, {json.loads(records[-1].read_text())['outcome']}")

    try:
        while "PREFECT_API_AUTH_STRING" not in os.environ:
            time.sleep(0.1)
        set_the_clock_forward("watch")
        ended("AUTOMATION")
        set_the_clock_forward("retrain")
        ended("SCHEDULE")
    except Exception as error:
        seen.append(repr(error))
    finally:
        os.kill(os.getpid(), signal.SIGINT)


def irp(project: Path, *arguments: str) -> tuple[int, str]:
    from flows.cli.main import app

    before = Path.cwd()
    os.chdir(project)
    try:
        done = CliRunner().invoke(app, arguments)
    finally:
        os.chdir(before)
    return done.exit_code, f"{done.output}{done.exception or ''}"


def test_a_line_is_added_and_mistakes_are_said(plant: Plant, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    code, said = irp(tmp_path, "line", "add", "line7", "--inbox", "in", "--cron", "0 2 * * *", "--min-new", "5")
    assert code == 0 and "irp line run line7" in said
    assert load_line("line7", tmp_path).min_new == 5
    for arguments, expected in (
        (["line", "add", "line7", "--inbox", "in"], "line7.yaml: exists"),
        (["line", "add", "line8", "--inbox", "nowhere"], "--inbox nowhere: expected a folder, found none"),
        (["line", "add", "line8", "--inbox", "in", "--policy", "golden"], "golden must name a folder"),
        (["line", "add", "li/ne", "--inbox", "in"], "expected a line's name"),
        (["line", "status", "line6"], "did you mean 'line7'"),
        (["promote", "line7", "--why", "x"], "expected a version of a line, LINE/NUMBER"),
        (["promote", "line7/1", "--why", "x", "--by", "policy golden"], "expected a person's name"),
        (["rollback", "line7", "--why", "x"], "expected a version in service, found none"),
    ):
        code, said = irp(tmp_path, *arguments)
        assert code != 0 and expected in said, (arguments, said)
    inside = plant.project / "somewhere" / "inside"
    (inside / "in").mkdir(parents=True)
    code, said = irp(inside, "line", "add", "line9", "--inbox", "in")
    assert code == 0 and load_line("line9", plant.project).inbox == "somewhere/inside/in", said
    code, said = irp(inside, "line", "status", "line3")
    assert code == 0 and "12 images, 12 of them new (a round needs 10)" in said
