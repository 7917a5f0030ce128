"""What comes in at the review page's door: small requests, in a reasonable time, answered in JSON whatever is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

from irp_core.errors import InputError

__all__ = ["Bounded", "Impatient", "answer_in_json"]

MAX_BYTES = 64_000  # of a request's body: a note has two thousand characters
SECONDS = 10.0  # for the head of a request, and for its body

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]


class Impatient(H11Protocol):
    """A connection that is closed when no request came over it in time: half-open ones would use up all there are."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._waiting = self.loop.call_later(SECONDS, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._waiting.cancel()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        if self.cycle is None:
            self.transport.close()


class Bounded:
    """An application that is handed whole requests, none larger or slower than it can use."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body, refusal = b"", None
        try:
            async with asyncio.timeout(SECONDS):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        return  # whoever asked has gone
                    body += message.get("body", b"")
                    if len(body) > MAX_BYTES:
                        refusal = JSONResponse({"detail": f"more than {MAX_BYTES} bytes"}, 413)
                        break
                    if not message.get("more_body"):
                        break
        except TimeoutError:
            refusal = JSONResponse({"detail": "the request did not end in time"}, 408)
        if refusal is not None:
            refusal.headers["Connection"] = "close"
            await refusal(scope, receive, send)
            return
        whole: list[_Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> _Message:
            return whole.pop() if whole else await receive()

        await self._app(scope, replay, send)


def answer_in_json(app: FastAPI) -> None:
    """Let the page say what went wrong: a mistake, a request of another form, a write that failed."""
    app.exception_handler(InputError)(_as_bad_request)
    app.exception_handler(RequestValidationError)(_as_invalid)
    app.exception_handler(OSError)(_as_not_written)


async def _as_bad_request(_request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 400)


async def _as_invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    # What was sent is not sent back: it may be no text at all.
    said = "; ".join(f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors())
    return JSONResponse({"detail": said.encode("utf-8", "replace").decode()}, 422)


async def _as_not_written(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, OSError)
    place = f" {error.filename2 or error.filename}" if error.filename2 or error.filename else ""
    reason = error.strerror or type(error).__name__
    return JSONResponse(
        {"detail": f"Not all was written ({reason}{place}). Nothing is lost: press the key again."}, 507
    )
