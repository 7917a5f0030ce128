"""Webhook and Prefect events against real servers: what arrives, what is tried again, what a failure says."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from irp_core.config.lines import Line
from tasks.notify import EVENTS, tell
from tests.flows.harness import prefect_secret


class Receiver(ThreadingHTTPServer):
    """A webhook that answers with `answers`, in turn, and keeps what it got."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[int] = []
        self.got: list[tuple[dict[str, str], bytes]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook/SECRET-TOKEN"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((dict(self.headers.items()), body))
        self.send_response(self.server.answers.pop(0) if self.server.answers else 204)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setattr("tasks.notify.webhook._PAUSES", (0.01, 0.01))
    with Receiver() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(autouse=True)
def without_prefect(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "prefect_api" not in request.fixturenames:
        monkeypatch.setattr("tasks.notify.telling._emit", lambda *_: None)


def line(webhook: str | None, name: str = "line3") -> Line:
    return Line(name=name, inbox="/data/line3", webhook=webhook)


def test_the_webhook_gets_the_event_as_json(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IRP_WEBHOOK_SECRET", "key")
    assert tell(line(receiver.address), "refused", {"version": "line3/7", "reason": "Größe.", "misses": 4}) == []
    ((headers, body),) = receiver.got
    message = json.loads(body)
    assert (message["event"], message["line"]) == ("irp.refused", "line3")
    assert message["text"] == "line3: line3/7 was refused. Größe."
    assert message["payload"] == {"version": "line3/7", "reason": "Größe.", "misses": 4}
    assert headers["Idempotency-Key"] == message["id"]
    assert headers["X-IRP-Signature"] == "sha256=" + hmac.new(b"key", body, hashlib.sha256).hexdigest()


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_says_something(event: str, receiver: Receiver) -> None:
    assert tell(line(receiver.address), event, {}) == []
    text = json.loads(receiver.got[0][1])["text"]
    assert text.startswith("line3: ")
    assert "{" not in text


def test_an_answer_that_may_pass_is_tried_again_with_the_same_id(receiver: Receiver) -> None:
    receiver.answers = [503, 429]
    assert tell(line(receiver.address), "promoted", {}) == []
    assert len({headers["Idempotency-Key"] for headers, _ in receiver.got}) == 1
    assert len(receiver.got) == 3


@pytest.mark.parametrize(
    ("answers", "tries", "reason"), [([404], 1, "HTTP 404"), ([500] * 9, 3, "HTTP 500"), ([301], 1, "HTTP 301")]
)
def test_a_failure_is_named_without_the_address_and_stops_nothing(
    answers: list[int], tries: int, reason: str, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.answers = answers
    (problem,) = tell(line(receiver.address), "failed", {})
    assert problem == f"line3: irp.failed did not reach the webhook at 127.0.0.1 ({reason})."
    assert problem in caplog.text
    assert "SECRET-TOKEN" not in caplog.text
    assert len(receiver.got) == tries


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9/x", "ftp://plant/x", "http://", "http://[::1/x", "file:///etc"]
)
def test_no_address_raises(address: str, receiver: Receiver) -> None:
    (problem,) = tell(line(address), "drift", {})
    assert "webhook" in problem


def test_a_mistake_of_the_caller_is_one() -> None:
    with pytest.raises(ValueError, match="event must be one of"):
        tell(line(None), "lunch", {})
    for payload in ({"set": {1}}, {"value": float("nan")}):
        with pytest.raises(ValueError, match="JSON"):
            tell(line(None), "drift", payload)


def test_prefect_gets_the_event(prefect_api: str) -> None:
    # A line of this test's own: others of the session roll line3 back on the same server.
    assert tell(line(None, "told"), "rolled_back", {"version": "told/6"}) == []
    found: list[dict[str, Any]] = []
    body = {"filter": {"event": {"name": ["irp.rolled_back"]}, "resource": {"id": ["irp.line.told"]}}}
    for _ in range(100):
        found = httpx.post(f"{prefect_api}/events/filter", json=body, auth=prefect_secret()).json()["events"]
        if found:
            break
        time.sleep(0.1)
    (event,) = found
    assert event["resource"]["prefect.resource.id"] == "irp.line.told"
    assert event["payload"] == {"text": "told: told/6 is in service again.", "version": "told/6"}
