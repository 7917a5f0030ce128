"""`irp review`: a person sees what was removed and what nearly was, and decides."""

from __future__ import annotations

import os
import tempfile
import threading
import webbrowser
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from flows.cli.names import default_name
from flows.cli.options import AllowDetectors, Quiet, find_run, read_params, run_or_line_names
from irp_core.errors import InputError

if TYPE_CHECKING:
    from irp_core.run.directory import RunDirectory
    from tasks.review.page_server import PageServer

__all__ = ["review"]


def review(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN|LINE",
            help="A run (folder, id, beginning of an id, last), or a line, whose service kept images.",
            autocompletion=run_or_line_names,
        ),
    ],
    reviewer: Annotated[str | None, typer.Option(help="Your name; default: git's user.name, else the login.")] = None,
    port: Annotated[int, typer.Option(help="Port on the loopback interface; 0: a free one.", min=0, max=65535)] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")] = True,
    ask: Annotated[
        int | None, typer.Option(help="Ask about so many images, each time about the one that tells most.", min=1)
    ] = None,
    simulate: Annotated[
        bool, typer.Option(help="With --ask: let the labels answer (an experiment, marked as such).")
    ] = False,
    kept: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The images that `irp serve --keep DIR` kept; of a line: lines/LINE/kept."),
    ] = None,
    quiet: Quiet = False,
    allow_detector: AllowDetectors = None,
) -> None:
    """Review a run on a local page: keep or remove by keyboard. Later runs respect every decision.

    `irp review LINE` shows the alarms and near-alarms that the line's service kept: good or defective?
    """
    if simulate and ask is None:
        raise InputError("--simulate goes with --ask N: it answers questions from the labels.")
    from irp_core.line.definition import line_names

    if kept is not None or run in line_names(Path()):
        if ask is not None:
            raise InputError(
                f"irp review {run}: --ask asks about a run; of kept images the likeliest defect comes first."
            )
        _review_kept(run, kept, reviewer or default_name(), port, browser, quiet, allow_detector or ())
        return
    console = Console(quiet=quiet)
    with Console(stderr=True, quiet=quiet).status("Opening the run …"):
        from flows.terminal.audit import show_answers, show_review
        from tasks.review.ask_server import AskServer
        from tasks.review.asking import Asking
        from tasks.review.server import ReviewServer
        from tasks.review.session import Review
        from tasks.tracking.writer import log_review, review_is_logged

        opened = Review(_at_home(find_run(run)))
        name = reviewer or default_name()
        asking = None if ask is None else Asking(opened, ask)
        server = None
        if not simulate:
            server = ReviewServer(opened, name, port) if asking is None else AskServer(asking, name, port)
    if asking is not None and server is None:
        asking.answer_from_labels()
    else:
        assert server is not None
        _serve(Console(), server, opened.run.path, browser)
    if not review_is_logged(opened.run):
        with Console(stderr=True, quiet=quiet).status("Writing to MLflow …"):
            log_review(opened)
    if asking is None:
        show_review(console, opened)
    else:
        show_answers(console, asking.state(), asking.again)


def _review_kept(
    name: str, folder: Path | None, reviewer: str, port: int, browser: bool, quiet: bool, allow: Collection[str]
) -> None:
    from irp_core.line.definition import line_names, line_params, load_line
    from irp_core.line.folder import LineFolder

    line = load_line(name, Path()) if name in line_names(Path()) else None
    params = read_params(None, None) if line is None else line_params(line, Path())
    folder = folder or LineFolder(name).kept
    with Console(stderr=True, quiet=quiet).status("Opening the images …"):
        from flows.terminal.line import show_feedback
        from tasks.feedback import feedback_of
        from tasks.feedback.page import KeptServer

        feedback = feedback_of(folder, params)
        before = set(feedback.said())
        server = KeptServer(feedback, params, f"{name}: {folder}", reviewer, port, allow=allow)
    _serve(Console(), server, folder, browser)
    show_feedback(Console(quiet=quiet), feedback, before, line)


def _serve(console: Console, server: PageServer, folder: Path, browser: bool) -> None:
    console.print(f"Review page: {server.url}", highlight=False, soft_wrap=True)
    console.print("Only this machine can reach it. Finish on the page, or with Ctrl-C here.")
    console.file.flush()  # a pipe would keep the address to itself
    with ExitStack() as stack:
        if browser:  # a text browser would block until it is left
            door = stack.enter_context(_door(folder, server.url))
            threading.Thread(target=webbrowser.open, args=(door,), daemon=True).start()
        stack.enter_context(suppress(KeyboardInterrupt))  # comes after the server has stopped: what is decided counts
        server.run()


def _at_home(run: RunDirectory) -> RunDirectory:
    """The run, from the directory that its relative paths start from: decisions written elsewhere nobody would respect.

    Raises:
        InputError: the run's tracking store is not there.
    """
    from irp_core.run.directory import RunDirectory

    home = run.workspace()
    if not home.samefile(Path.cwd()):
        run = RunDirectory(run.path.resolve())
        os.chdir(home)
    store = run.params().tracking.uri
    file = Path(store.removeprefix("sqlite:///"))
    if store.startswith("sqlite:///") and run.mlflow() is not None and not file.exists():
        raise InputError(f"{home}: expected the tracking store of {run.path} ({store}), found none.")
    return run


@contextmanager
def _door(folder: Path, url: str) -> Iterator[str]:
    """Address of a file that leads to `url` and that nobody else can read.

    A browser's arguments are visible to everybody on the machine, and the token in them would be everybody's. The
    file is not in /tmp, where a browser from a snap or flatpak sees other files.
    """
    with tempfile.NamedTemporaryFile("w", dir=folder, prefix="review-", suffix=".html", encoding="utf-8") as file:
        file.write(
            f'<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer"><title>Review</title>'
            f'<meta http-equiv="refresh" content="0; url={url}"><a href="{url}">Review</a>\n'
        )
        file.flush()
        yield Path(file.name).resolve().as_uri()
