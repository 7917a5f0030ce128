"""A page on the loopback interface only, behind a random token: what every page for people's decisions stands on.

The token is part of every address, so a page from elsewhere can neither read nor send anything; in addition the host
name of each request (DNS rebinding) and the origin of each writing one are checked, and no cookie exists.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Awaitable, Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from irp_core.errors import InputError
from tasks.review.door import Bounded, Impatient, answer_in_json

__all__ = ["MD5", "WORD", "Body", "Name", "PageServer"]

MD5 = Field(pattern=r"^[0-9a-f]{32}$")
WORD = Field(min_length=1, max_length=200, pattern=r"\S")


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Name(Body):
    reviewer: str = WORD
    note: str = Field(default="", max_length=2000)


class PageServer:
    """Serves one page until it is finished.

    Args:
        port: 0 for a free one.

    Raises:
        InputError: a port that cannot be had.
    """

    template: str
    """The page, in the folder `templates`."""

    def __init__(self, port: int = 0) -> None:
        self.token = secrets.token_urlsafe(24)
        self._socket = socket.socket()
        try:
            self._socket.bind(("127.0.0.1", port))
        except OSError as error:
            raise InputError(f"--port {port}: cannot be listened on ({error.strerror}).") from None
        self._socket.listen()
        self.port = int(self._socket.getsockname()[1])
        config = uvicorn.Config(
            Bounded(self.app()), log_level="error", timeout_graceful_shutdown=2, http=Impatient, ws="none"
        )
        self._server = uvicorn.Server(config)

    def says(self) -> dict[str, Any]:
        """The values that the template shows."""
        raise NotImplementedError

    def routes(self) -> list[tuple[str, Callable[..., Any], str]]:
        """Path under the token, handler and method."""
        return [("/", self._page, "GET"), ("/finish", self._finish, "POST")]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/{self.token}/"

    def run(self) -> None:
        """Serve until the reviewer finishes or presses Ctrl-C."""
        self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """End `run`."""
        self._server.should_exit = True

    def app(self) -> FastAPI:
        """The application; every route lies under the token."""
        app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
        app.middleware("http")(self._guard)
        answer_in_json(app)
        for path, handler, method in self.routes():
            app.add_api_route(f"/{self.token}{path}", handler, methods=[method])
        return app

    async def _guard(self, request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        hosts = {f"127.0.0.1:{self.port}", f"localhost:{self.port}"}
        if request.headers.get("host") not in hosts:
            return JSONResponse({"detail": "unknown host"}, 400)
        if request.method != "GET":
            origin = request.headers.get("origin")
            json_body = request.headers.get("content-type", "").startswith("application/json")
            if not json_body or (origin is not None and origin not in {f"http://{host}" for host in hosts}):
                return JSONResponse({"detail": "not from this page"}, 403)
        response = await call_next(request)
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["X-Content-Type-Options"] = "nosniff"
        if request.url.path.endswith(("/small", "/large", "/map")):
            response.headers["Cache-Control"] = "private, max-age=3600"
        else:
            response.headers["Cache-Control"] = "no-store"
        return response

    def _page(self) -> HTMLResponse:
        nonce = secrets.token_urlsafe(16)
        text = _template(self.template).render(**self.says(), nonce=nonce)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src 'self' data:; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        return HTMLResponse(text, headers={"Content-Security-Policy": policy})

    def _finish(self) -> dict[str, bool]:
        self.stop()
        return {"finished": True}


@lru_cache
def _template(name: str) -> jinja2.Template:
    folder = Path(__file__).parent / "templates"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template(name)
