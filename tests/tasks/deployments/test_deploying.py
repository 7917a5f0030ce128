"""Deployments on a real server on PostgreSQL with a real worker: a schedule and an event each start a run, runs of one
line never overlap, a lost run frees its place, and what is no longer asked for goes."""

from __future__ import annotations

import re
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from typer.testing import CliRunner

from flows.cli.main import app
from irp_core.config.lines import Line
from irp_core.errors import InputError
from irp_core.line.definition import write_line
from tasks.deployments import Deployed, Trigger, deploy
from tasks.deployments.lost_runs import notice_lost_runs
from tasks.notify import EVENTS, INBOX_READY, resource_id
from tests.flows.test_second_clone import PROGRAMS, free_port, postgres
from tests.tasks.deployments.compose import COMPOSE, SECRETS, Service, compose_file, interpolated, services
from tests.tasks.deployments.platform import Platform, platform_in

# What `flows.line.retrain` is in a plant; it takes notes of when it ran and where.
FLOWS = """
import os, time
from pathlib import Path
from prefect import flow

def note(text):
    with open("notes", "a") as file:
        file.write(text + "\\n")

@flow(name="retrain")
def retrain(line: str) -> None:
    note(f"begin {line} {os.getcwd()}")
    time.sleep(0.5)
    note(f"end {line} {os.getcwd()}")

@flow(name="watch")
def watch(line: str) -> None:
    note(f"watch {line} {os.environ['WATCHED']}")
"""


@dataclass(frozen=True)
class Plant:
    """The services of compose.yaml on this machine."""

    services: Mapping[str, Service]
    folder: Path
    mlflow: str


def make_databases(address: str) -> None:
    """Carry databases.sql out, as PostgreSQL's image does it with psql."""
    connected = address
    lines = (COMPOSE.parent / "databases.sql").read_text().splitlines()
    for statement in (line for line in lines if not line.startswith("--")):
        if statement.startswith("\\connect "):
            connected = urlsplit(address)._replace(path=statement.removeprefix("\\connect ")).geturl()
        elif statement.strip():
            with psycopg.connect(connected, autocommit=True) as connection:
                connection.execute(statement.encode())


@pytest.fixture(scope="module")
def plant_services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """PostgreSQL with compose's databases, and the commands of the other services."""
    if PROGRAMS is None:
        pytest.skip("PostgreSQL is not installed")
    folder = tmp_path_factory.mktemp("platform")
    ports = [str(free_port()) for _ in range(2)]
    with postgres() as database:
        address = urlsplit(database).netloc.partition("@")[2]
        make_databases(database.replace("+psycopg", ""))
        here = {
            "@postgres:5432": f"@{address}",
            "http://prefect:4200": f"http://127.0.0.1:{ports[0]}",
            "mlflow:5000": f"127.0.0.1:{ports[1]}",
            "0.0.0.0": "127.0.0.1",
            "--workers=2": "--workers=1",
            "4200": ports[0],
            "5000": ports[1],
            "/artifacts": str(folder / "artifacts"),
            "/etc/irp": str(folder),
        }
        ours = services(here)
        content = interpolated(compose_file()["configs"]["mlflow_auth"]["content"], SECRETS)
        (folder / "mlflow_auth.ini").write_text(content.replace("@postgres:5432", f"@{address}"))
        yield Plant(ours, folder, f"http://127.0.0.1:{ports[1]}")


@pytest.fixture(scope="module")
def platform(plant_services: Plant) -> Iterator[Platform]:
    """Compose's Prefect server, with its secret."""
    folder, server = plant_services.folder, plant_services.services["prefect"]
    worker = plant_services.services["worker"]
    (folder / "plant_flows.py").write_text(FLOWS)
    port = int(server.command[-1])
    with platform_in(
        folder, port=port, server=server.command, environment={**server.environment, **worker.environment}
    ) as made:
        assert made.api == worker.environment["PREFECT_API_URL"]
        tracking = plant_services.services["mlflow"]
        made.start(*tracking.command, **tracking.environment)  # it takes its time; the last test asks it
        made.environment["PYTHONPATH"] = f"{folder}:{made.environment.get('PYTHONPATH', '')}"
        secret = SECRETS["IRP_PREFECT_AUTH"]
        with temporary_settings({PREFECT_API_URL: made.api, PREFECT_API_AUTH_STRING: secret}):
            yield made


@pytest.fixture(scope="module")
def flows(platform: Platform) -> Any:
    sys.path.insert(0, str(platform.folder))
    import plant_flows  # type: ignore[import-not-found]

    yield plant_flows
    sys.path.remove(str(platform.folder))


def runs(platform: Platform, name: str, *states: str) -> list[dict[str, Any]]:
    body: dict[str, Any] = {"deployments": {"name": {"any_": [name]}}}
    if states:
        body["flow_runs"] = {"state": {"type": {"any_": list(states)}}}
    return platform.ask("flow_runs/filter", body) or []


def emit(platform: Platform, event: str, resource: str, **more: Any) -> None:
    body = {
        "event": event,
        "resource": {"prefect.resource.id": resource},
        "occurred": datetime.now(UTC).isoformat(),
        "id": str(uuid.uuid4()),
        **more,
    }
    platform.ask("events", [body])


@pytest.mark.timeout(600)
def test_a_schedule_and_an_event_start_runs_one_after_another(
    platform: Platform, plant_services: Plant, flows: Any, tmp_path: Path
) -> None:
    project, other = tmp_path / "project", tmp_path / "other"
    project.mkdir()
    wanted = [
        Deployed(
            "line3",
            flows.retrain,
            {"line": "line3"},
            cron="0 2 * * *",
            timezone="Europe/Berlin",
            starts_on=[Trigger(INBOX_READY, resource_id("line3"))],
        ),
        Deployed("line3", flows.watch, {"line": "line3"}, interval=30, when_busy="CANCEL_NEW"),
        Deployed("line4", flows.retrain, {"line": "line4"}, starts_on=[Trigger(INBOX_READY, resource_id("line4"))]),
    ]
    deploy([Deployed("theirs", flows.retrain, {"line": "theirs"})], other, pool="irp")
    names, gone = deploy(wanted, project, pool="irp", environment={"WATCHED": "by night"})
    assert (names, gone) == (["retrain/line3", "watch/line3", "retrain/line4"], [])
    platform.start(*plant_services.services["worker"].command)

    for _ in range(3):
        emit(platform, INBOX_READY, resource_id("line3"))

    def started() -> list[str]:
        return [run["created_by"]["type"] for run in runs(platform, "line3", "COMPLETED")]

    platform.until(
        lambda: started().count("AUTOMATION") == 3 and "SCHEDULE" in started(), "three events and a schedule end", 240
    )
    notes = (project / "notes").read_text().splitlines()
    ours = [line for line in notes if not line.startswith("watch")]
    assert ours == [f"begin line3 {project}", f"end line3 {project}"] * 3  # one after another
    assert "watch line3 by night" in notes
    assert not runs(platform, "line4") and not runs(platform, "theirs")

    (night,) = {
        schedule["schedule"]["cron"]
        for found in platform.ask("deployments/filter", {"deployments": {"name": {"any_": ["line3"]}}})
        for schedule in found["schedules"]
        if "cron" in schedule["schedule"]
    }
    assert night == "0 2 * * *"


def test_deploying_again_changes_what_changed_and_deletes_what_is_gone(
    platform: Platform, flows: Any, tmp_path: Path
) -> None:
    def state() -> tuple[list[tuple[str, int]], list[str]]:
        found = platform.ask("deployments/filter", {"deployments": {"name": {"any_": ["a", "b"]}}})
        triggers = [a["name"] for a in platform.ask("automations/filter", {}) if "a" in a["name"].split("/")]
        return sorted((d["name"], len(d["schedules"])) for d in found), triggers

    first = [
        Deployed(
            "a", flows.retrain, {"line": "a"}, cron="0 2 * * *", starts_on=[Trigger(INBOX_READY, resource_id("a"))]
        ),
        Deployed("b", flows.retrain, {"line": "b"}, cron="0 3 * * *"),
    ]
    deploy(first, tmp_path)
    once = state()
    deploy(first, tmp_path)
    assert state() == once == ([("a", 1), ("b", 1)], [f"{INBOX_READY} starts retrain/a"])
    _, gone = deploy([Deployed("a", flows.retrain, {"line": "a"})], tmp_path)
    assert gone == ["retrain/b"]
    assert state() == ([("a", 0)], [])


@pytest.mark.timeout(120)
def test_a_run_without_a_heartbeat_is_marked_and_frees_its_place(
    platform: Platform, flows: Any, tmp_path: Path
) -> None:
    deploy([Deployed("lost", flows.retrain, {"line": "lost"})], tmp_path, pool="nobody")
    with get_client(sync_client=True) as client:
        notice_lost_runs(client, within=10)  # a plant's has 90 s
        deployment = client.read_deployment_by_name("retrain/lost")
        from prefect.states import Running

        first, second = (client.create_flow_run_from_deployment(deployment.id) for _ in range(2))
        from prefect.states import Pending

        for state in (Pending(), Running()):
            client.set_flow_run_state(first.id, state)
        waits = client.set_flow_run_state(second.id, Pending())
        assert waits.status.name != "ACCEPT"
        emit(platform, "prefect.flow-run.heartbeat", f"prefect.flow-run.{first.id}")
        platform.until(lambda: client.read_flow_run(first.id).state.is_crashed(), "the lost run is marked", 60)
        assert "No heartbeat for 10 s" in client.read_flow_run(first.id).state.message
        taken = client.set_flow_run_state(second.id, Pending())
        assert taken.status.name == "ACCEPT"
        notice_lost_runs(client)


def test_the_server_answers_nobody_without_its_secret(platform: Platform) -> None:
    assert httpx.get(f"{platform.api}/health").is_success  # what a container's health check asks
    assert httpx.post(f"{platform.api}/flows/filter", json={}).status_code == 401


def test_irp_deploy_makes_a_project_s_deployments(
    platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_line(Line(name="line7", inbox=str(tmp_path), cron="0 2 * * *"), tmp_path)
    write_line(Line(name="line8", inbox=str(tmp_path)), tmp_path)
    runner = CliRunner()
    said = runner.invoke(app, ["deploy", "--gc", "0 5 * * 0"], catch_exceptions=False).stdout
    names = [f"{flow}/{line}" for line in ("line7", "line8") for flow in ("retrain", "watch", "monitor", "promote")]
    assert [line.split()[1] for line in said.splitlines() if line.startswith("deployed")] == [*names, "gc/project"]
    assert "prefect worker start --pool irp" in said
    found = platform.ask("deployments/filter", {"deployments": {"name": {"any_": ["line7", "line8", "project"]}}})
    assert {d["entrypoint"] for d in found} == {
        "flows.line.retrain.retrain", "flows.line.watch.watch", "flows.line.monitor.monitor",
        "flows.line.promote.promote", "flows.housekeeping.housekeeping",
    }  # fmt: skip
    assert {d["name"]: d["parameters"] for d in found}["project"] == {"deleting": True}
    (tmp_path / "params" / "lines" / "line8.yaml").unlink()
    again = runner.invoke(app, ["deploy"], catch_exceptions=False).stdout
    assert again.count("deleted ") == 4
    with pytest.raises(InputError, match="five fields"):
        runner.invoke(app, ["deploy", "--gc", "sometimes"], catch_exceptions=False)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="expected a project with lines"):
        runner.invoke(app, ["deploy"], catch_exceptions=False)


@pytest.mark.filterwarnings("ignore:.*imghdr.*:DeprecationWarning")  # of a library of Prefect's notifications
def test_the_automation_of_the_documentation_is_taken(platform: Platform) -> None:
    page = (COMPOSE.parents[1] / "docs" / "platform.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```\n(from prefect\.automations .*?)```", page, re.DOTALL)
    exec(compile(code, "docs/platform.md", "exec"), {})
    (made,) = [a for a in platform.ask("automations/filter", {}) if a["name"] == "line3: tell the engineers"]
    assert made["actions"][0]["type"] == "send-notification"
    events = {f"irp.{event}" for event in EVENTS} | {INBOX_READY}
    assert set(made["trigger"]["expect"]) <= events
    assert set(re.findall(r"^\| `(irp\.[a-z_.]+)`", page, re.MULTILINE)) == events


def test_the_tracking_server_starts_on_postgresql_and_asks_for_its_password(
    platform: Platform, plant_services: Plant
) -> None:
    address = plant_services.mlflow

    def answers() -> bool:
        try:
            return httpx.get(f"{address}/health").is_success
        except httpx.TransportError:
            return False

    platform.until(answers, "MLflow answers", 120)
    question = f"{address}/api/2.0/mlflow/experiments/search"
    worker = plant_services.services["worker"].environment
    known = (worker["MLFLOW_TRACKING_USERNAME"], worker["MLFLOW_TRACKING_PASSWORD"])
    client = httpx.Client(timeout=60)  # the first answer takes the longest
    for auth, status in ((None, 401), ((known[0], "guessed"), 401), (known, 200)):
        assert client.post(question, json={"max_results": 5}, auth=auth).status_code == status
    other = client.post(question, json={"max_results": 5}, auth=known, headers={"Host": "evil.example"})
    assert other.status_code == 403


def test_without_a_server_one_sentence_says_what_to_do(tmp_path: Path) -> None:
    with temporary_settings({PREFECT_API_URL: None}), pytest.raises(InputError, match="prefect server start"):
        deploy([], tmp_path)
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(InputError, match="expected a Prefect server, found none"),
    ):
        deploy([], tmp_path)
