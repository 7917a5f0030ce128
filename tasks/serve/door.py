"""What comes in at the service's door: for the right host, with the token, neither too large, too slow nor too much."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import JSONResponse

__all__ = ["Door", "Limits", "is_loopback"]

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_OPEN = "/health"  # answered without a token: orchestrators ask it


@dataclass(frozen=True)
class Limits:
    """What one request, and all of them together, may take.

    Attributes:
        body: bytes of a request.
        together: bytes of the requests that are being read or scored.
        images: of a request.
        maps: of a request: each costs more to draw than its score, and may have megabytes.
        pixels: of an image.
        seconds: until a request has arrived whole, and again until it is answered.
    """

    body: int = 32_000_000
    together: int = 256_000_000
    images: int = 32
    maps: int = 8
    pixels: int = 50_000_000
    seconds: float = 30.0


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    return host in ("localhost", "::1") or (host.startswith("127.") and host.replace(".", "").isdigit())


class Door:
    """An application that is handed whole requests that it may answer.

    Args:
        token: that a request must carry (`Authorization: Bearer TOKEN`); None: none.
        hosts: names that a request may be addressed to; empty: this machine's own, which keeps a page in a browser from
            reaching a service on the loopback interface under a name of its own; None: any.
    """

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],
        limits: Limits,
        token: str | None = None,
        hosts: tuple[str, ...] | None = (),
    ) -> None:
        self._app, self._limits, self._token, self._hosts = app, limits, token, hosts
        self._held = 0

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # no WebSockets: uvicorn answers 403
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refused(scope, headers)
        if refusal is not None:
            await _refuse(refusal, scope, receive, send)
            return
        body: list[bytes] = []
        size = 0
        try:
            try:
                async with asyncio.timeout(self._limits.seconds):
                    while True:
                        message = await receive()
                        if message["type"] != "http.request":
                            return  # whoever asked has gone
                        part = message.get("body", b"")
                        size += len(part)
                        self._held += len(part)
                        body.append(part)
                        if size > self._limits.body:
                            refusal = (413, f"a request may have {self._limits.body} bytes at most")
                        elif self._held > self._limits.together:
                            refusal = (503, "busy: too much is being sent at once; try again in a moment")
                        if refusal is not None or not message.get("more_body"):
                            break
            except TimeoutError:
                refusal = (408, "the request did not end in time")
            if refusal is not None:
                await _refuse(refusal, scope, receive, send)
                return
            whole: list[_Message] = [{"type": "http.request", "body": b"".join(body), "more_body": False}]
            body.clear()

            async def replay() -> _Message:
                return whole.pop() if whole else await receive()

            await self._app(scope, replay, send)
        finally:
            self._held -= size

    def _refused(self, scope: _Message, headers: dict[str, str]) -> tuple[int, str] | None:
        hosts = [value for name, value in scope["headers"] if name.lower() == b"host"]
        if self._hosts is not None and (len(hosts) != 1 or not self._addressed(headers.get("host", ""))):
            return 421, "this service does not answer for that host"
        if self._token is not None and scope["path"] != _OPEN:
            given = headers.get("authorization", "").removeprefix("Bearer ")
            if not hmac.compare_digest(given.encode(), self._token.encode()):
                return 401, "expected the header Authorization: Bearer TOKEN"
        length = headers.get("content-length", "0")
        if not length.isdigit() or not length.isascii():
            return 400, "Content-Length must be a number"
        if len(length) > 15 or int(length) > self._limits.body:
            return 413, f"a request may have {self._limits.body} bytes at most"
        return None

    def _addressed(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return is_loopback(name) or name in (self._hosts or ())


async def _refuse(refusal: tuple[int, str], scope: _Message, receive: _Receive, send: _Send) -> None:
    status, detail = refusal
    headers = {"Connection": "close"}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status == 503:
        headers["Retry-After"] = "1"
    await JSONResponse({"detail": detail}, status, headers)(scope, receive, send)
