"""The process of the temporary Prefect server: who may ask it, where its database lies, what happens when it dies.

It listens on the loopback interface, on a socket that the parent holds: when the server is killed, its callers wait
for the next one that the parent starts, instead of being refused. It asks for the run's secret (only `/api/health` is
open), answers no other host name than the loopback's (DNS rebinding), and lets no web page of another origin read
anything. Its database is its own, of its folder: neither blocks nor secrets of the user's Prefect are in it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from filelock import FileLock, Timeout

from irp_core.atomic import atomic_path
from irp_core.errors import InputError

__all__ = ["Server"]

_LOCK_SECONDS = 300  # another run may be making the database
_RESTARTS = 3
# The child ends when its standard input does: on a clean exit and on `kill -9` of the parent alike.
_CHILD = """
import os, socket, sys, threading
import uvicorn
from starlette.middleware.trustedhost import TrustedHostMiddleware
from prefect.server.api.server import create_app
app = TrustedHostMiddleware(create_app(), allowed_hosts=["127.0.0.1", "localhost"])
server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="on", timeout_graceful_shutdown=1))
def watch():
    sys.stdin.buffer.read()
    server.should_exit = True
    threading.Timer(2, os._exit, (0,)).start()  # time for the last events to reach the database
threading.Thread(target=watch, daemon=True).start()
server.run(sockets=[socket.socket(fileno=int(sys.argv[1]))])
"""


class Server:
    """The temporary server, from `with` to its end.

    Args:
        log: where it writes; its database lies beside it.
        secret: `user:password` that every caller has to give.
        schedules: it starts runs by the clock and on events, too, as a server that keeps running does.

    Raises:
        InputError: another run has been making the database for too long.
    """

    def __init__(self, log: Path, secret: str, *, schedules: bool = False) -> None:
        self._log = log.absolute()
        self._database = self._log.with_name("prefect.db")
        self._made = self._log.with_name("prefect.db.made")
        self._lock = FileLock(self._log.with_name(".prefect.db.lock"))
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen(128)
        port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/api"
        self._environment = {
            **os.environ,
            "PREFECT_UI_ENABLED": "0",
            "PREFECT__SERVER_EPHEMERAL": "" if schedules else "1",
            "PREFECT_SERVER_API_AUTH_STRING": secret,
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"http://127.0.0.1:{port}",
            "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{self._database}",
        }
        self._ending = threading.Event()
        self._dead: int | None = None  # the exit code of the last one

    def __enter__(self) -> Server:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        if not self._is_made():
            # Migrations are no more than a start away from breaking off, and two at once break each other.
            try:
                self._lock.acquire(timeout=_LOCK_SECONDS)
            except Timeout:
                raise InputError(f"{self._database}: another run has been making it for {_LOCK_SECONDS} s.") from None
            if self._is_made():
                self._lock.release()
            else:
                for left in self._database.parent.glob(f"{self._database.name}*"):
                    left.unlink(missing_ok=True)
        self._start()
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._lock.release(force=True)
        self._socket.close()
        child = self._child
        assert child.stdin is not None
        with suppress(OSError):
            child.stdin.close()
        try:
            child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            child.kill()

    def check(self) -> None:
        """Refuse to wait for a server that is not started again.

        Raises:
            InputError: it died too often.
        """
        if self._dead is not None:
            raise InputError(
                f"The temporary Prefect server ended with code {self._dead}; the reason is at the end of {self._log}."
            )

    def ready(self) -> None:
        """Note that it answered: its database is complete."""
        if self._lock.is_locked:
            with atomic_path(self._made) as temporary:
                temporary.write_text(version("prefect"), encoding="utf-8")
            self._lock.release()

    def _is_made(self) -> bool:
        with suppress(OSError):
            return self._database.exists() and self._made.read_text(encoding="utf-8") == version("prefect")
        return False

    def _start(self) -> None:
        with open(self._log, "ab") as output:
            self._child = subprocess.Popen(
                [sys.executable, "-c", _CHILD, str(self._socket.fileno())],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=self._environment,
                pass_fds=[self._socket.fileno()],
                start_new_session=True,  # Ctrl-C is for the run: the server must still hear how it ended
            )

    def _watch(self) -> None:
        for restarts in range(_RESTARTS + 1):
            code = self._child.wait()
            if self._ending.is_set():
                return
            if self._child.stdin is not None:
                with suppress(OSError):
                    self._child.stdin.close()
            if restarts == _RESTARTS or (code > 0 and self._lock.is_locked):
                break
            self._start()
        self._dead = code
        self._socket.close()  # who waits for an answer is refused now
