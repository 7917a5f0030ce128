"""`irp review`: a person looks at what was removed, and at what nearly was."""

from __future__ import annotations

import getpass
import subprocess
import threading
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

__all__ = ["review"]


def review(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run's directory.")],
    reviewer: Annotated[str | None, typer.Option(help="Your name; default: git's user.name, else the login.")] = None,
    port: Annotated[int, typer.Option(help="Port on the loopback interface; 0: a free one.", min=0, max=65535)] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")] = True,
) -> None:
    """Review a run on a local page: keep or remove by keyboard. Later runs respect every decision."""
    console = Console()
    with Console(stderr=True).status("Opening the run …"):
        from flows.terminal_audit import show_review
        from tasks.review_server import ReviewServer
        from tasks.reviewing import Review
        from tasks.rundir import open_run
        from tasks.tracking import log_review, review_is_logged

        opened = Review(open_run(run))
        server = ReviewServer(opened, reviewer or _default_name(), port)
    console.print(f"Review page: {server.url}", highlight=False, soft_wrap=True)
    console.print("Only this machine can reach it. Finish on the page, or with Ctrl-C here.")
    if browser:  # a text browser would block until it is left
        threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
    with suppress(KeyboardInterrupt):  # the server hands Ctrl-C on after it has stopped; what is decided still counts
        server.run()
    if not review_is_logged(opened.run):
        with Console(stderr=True).status("Writing to MLflow …"):
            log_review(opened)
    show_review(console, opened)


def _default_name() -> str:
    try:
        found = subprocess.run(["git", "config", "user.name"], capture_output=True, text=True, check=False)
    except OSError:
        found = None
    try:
        return (found.stdout.strip() if found else "") or getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in containers: the page asks
        return ""
