"""The review page's door: what is too large, too slow or no text is refused, in JSON, and harms nobody else."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from irp_core.errors import InputError
from tasks.review import door

pytestmark = pytest.mark.trust


class Body(BaseModel):
    note: str


def application() -> FastAPI:
    app = FastAPI()
    door.answer_in_json(app)

    @app.post("/note")
    def note(body: Body) -> dict[str, int]:
        if body.note == "full":
            raise OSError(28, "No space left on device", "runs/r/review.parquet")
        if body.note == "wrong":
            raise InputError("the note is wrong")
        return {"length": len(body.note)}

    return app


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(door, "SECONDS", 0.5)
    monkeypatch.setattr(door, "MAX_BYTES", 1000)
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    config = uvicorn.Config(door.Bounded(application()), log_level="critical", http=door.Impatient, ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])), daemon=True)
    thread.start()
    yield listening.getsockname()[1]
    server.should_exit = True
    thread.join(10)


def post(port: int, content: bytes) -> httpx.Response:
    headers = {"Content-Type": "application/json"}
    return httpx.post(f"http://127.0.0.1:{port}/note", content=content, headers=headers, timeout=30)


def test_small_requests_pass_and_every_refusal_is_json(port: int) -> None:
    assert post(port, b'{"note": "a shadow"}').json() == {"length": 8}
    for content, code, said in (
        (b'{"note": "%s"}' % (b"x" * 2000), 413, "more than 1000 bytes"),
        (b'{"note": 1}', 422, "note: Input should be a valid string"),
        (b"\xff\xfe", None, ""),
        (b"[" * 900, None, ""),
        (b'{"note": "full"}', 507, "No space left on device runs/r/review.parquet"),
        (b'{"note": "wrong"}', 400, "the note is wrong"),
    ):
        answer = post(port, content)
        assert answer.status_code == code or (code is None and 400 <= answer.status_code < 500), content
        assert said in answer.json()["detail"]
    assert post(port, b'{"note": ""}').json() == {"length": 0}


def _read_all(connection: socket.socket) -> bytes:
    connection.settimeout(20)
    found = b""
    while part := connection.recv(4096):
        found += part
    return found


def test_a_stream_without_an_end_is_cut_off(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        head = b"POST /note HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        # At once: the server may answer and close before the last of several parts is sent.
        connection.sendall(head + 5 * (b"190\r\n" + b"x" * 0x190 + b"\r\n"))
        assert b" 413 " in _read_all(connection)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        b"POST /note HTTP/1.1\r\nHost: x\r\n",
        b"POST /note HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
    ],
)
def test_half_open_connections_are_closed_and_others_answered(sent: bytes, port: int) -> None:
    half_open = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
    for connection in half_open:
        connection.sendall(sent)
    assert post(port, b'{"note": "ab"}').json() == {"length": 2}
    started = time.monotonic()
    for connection in half_open:
        answer: Any = _read_all(connection)
        assert answer == b"" or json.loads(answer.split(b"\r\n\r\n", 1)[1])["detail"]
        connection.close()
    assert time.monotonic() - started < 15
