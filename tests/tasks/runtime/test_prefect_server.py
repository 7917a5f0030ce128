"""The temporary Prefect server: a database of its own, an answer for nobody else, and no end when it is killed."""

from __future__ import annotations

import base64
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import tasks.runtime.prefect_server as prefect_server
from irp_core.errors import InputError
from tasks.runtime.prefect_child import Server

pytestmark = pytest.mark.trust

SECRET = "irp:not to be guessed"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("prefect")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(folder / "home"))
        patch.delenv("PREFECT_API_AUTH_STRING", raising=False)
        with Server(folder / "server.log", SECRET) as running:
            prefect_server._wait(running.url, 280, "no server", running.check)
            running.ready()
            yield running


def ask(server: Server, secret: str | None = SECRET, **headers: str) -> httpx.Response:
    if secret:
        headers["Authorization"] = f"Basic {base64.b64encode(secret.encode()).decode()}"
    return httpx.post(f"{server.url}/flows/filter", json={}, headers=headers, timeout=60)


def test_it_answers_those_with_the_secret_alone(server: Server) -> None:
    assert ask(server).status_code == 200
    assert ask(server, None).status_code == 401
    assert ask(server, "irp:guessed").status_code == 401
    assert ask(server, Host="evil.example").status_code == 400


def test_no_web_page_may_read_an_answer(server: Server) -> None:
    answer = ask(server, Origin="https://evil.example")
    assert answer.headers.get("access-control-allow-origin") not in ("*", "https://evil.example")
    preflight = httpx.options(
        f"{server.url}/flows/filter",
        headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"},
    )
    assert "access-control-allow-origin" not in preflight.headers


def test_its_database_lies_beside_its_log(server: Server) -> None:
    (log,) = [Path(server._log)]
    with sqlite3.connect(log.with_name("prefect.db")) as database:
        assert database.execute("SELECT count(*) FROM flow").fetchone() == (0,)
    assert not (log.parent / "home" / "prefect.db").exists()


def test_a_killed_server_is_started_again_and_callers_wait_for_it(server: Server) -> None:
    first = server._child
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    for _ in range(3):  # a request that was under way is lost; whoever asks again is answered
        try:
            assert ask(server).status_code == 200
            break
        except (httpx.ReadError, httpx.RemoteProtocolError):
            continue
    assert server._child.pid != first.pid


def test_a_dead_address_is_one_sentence_and_soon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    monkeypatch.setattr(prefect_server, "_ANSWER_SECONDS", 0.3)
    started = time.monotonic()
    with prefect_server.prefect_server(tmp_path / "log") as wait, pytest.raises(InputError, match="expected a Prefect"):
        wait()
    assert time.monotonic() - started < 60  # on a busy machine; a server that is to start is given 300
    assert not (tmp_path / "log").exists()


def test_a_temporary_server_that_does_not_come_up_is_one_sentence_with_its_log(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setattr(prefect_server, "_START_SECONDS", 0)
    monkeypatch.setattr(Server, "_start", lambda self: setattr(self, "_child", subprocess.Popen(["cat"], stdin=-1)))
    with prefect_server.prefect_server(tmp_path / "server.log") as wait, pytest.raises(InputError) as refused:
        wait()
    assert "The temporary Prefect server does not answer; see " in str(refused.value)
    assert "server.log" in str(refused.value) and "PREFECT_API_URL" not in str(refused.value)


def test_the_profiles_address_is_obeyed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.delenv("PREFECT_PROFILE", raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    (tmp_path / "profiles.toml").write_text(
        'active = "plant"\n[profiles.plant]\nPREFECT_API_URL = "http://127.0.0.1:9/api"\n[profiles.none]\n'
    )
    assert prefect_server._of_profile() == "http://127.0.0.1:9/api"
    monkeypatch.setenv("PREFECT_PROFILE", "none")
    assert prefect_server._of_profile() is None
    (tmp_path / "profiles.toml").write_text("active = ")
    assert prefect_server._of_profile() is None


def test_a_proxy_is_not_asked_for_this_machine(tmp_path: Path) -> None:
    code = "import tasks.runtime.environment, os; print(os.environ['NO_PROXY'])"
    environment = {**os.environ, "HTTP_PROXY": "http://192.0.2.1:1", "NO_PROXY": "plant.example"}
    said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "plant.example,127.0.0.1,localhost"
