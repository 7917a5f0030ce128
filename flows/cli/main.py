"""The command line: its commands, in the order of a day's work.

A command's file imports heavy libraries inside its function, so that `--help` answers at once.
"""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

import tasks.runtime.environment  # noqa: F401  (before any of the libraries that it quiets)
from flows.cli.commands.audit import audit
from flows.cli.commands.demo import demo
from flows.cli.commands.export import export
from flows.cli.commands.fetch import fetch
from flows.cli.commands.gc import gc
from flows.cli.commands.init import init
from flows.cli.commands.prepare import prepare
from flows.cli.commands.refine import refine
from flows.cli.commands.review import review
from flows.cli.commands.runs import runs, show
from flows.cli.commands.score import score
from flows.cli.commands.whatif import whatif
from flows.cli.ending import carry_out
from flows.cli.images.pack import pack
from flows.cli.lines.deploy import deploy
from flows.cli.lines.line import line
from flows.cli.lines.promotion import promote, reject, rollback
from flows.cli.operation.monitor import monitor
from flows.cli.operation.serve import serve
from flows.cli.project import InProject
from irp_core import __version__

__all__ = ["app", "main"]

app = typer.Typer(
    name="irp",
    cls=InProject,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for command in (
    demo,
    init,
    fetch,
    pack,
    prepare,
    refine,
    runs,
    show,
    review,
    whatif,
    export,
    score,
    serve,
    monitor,
    gc,
    promote,
    reject,
    rollback,
    deploy,
):
    app.command()(command)
app.add_typer(line, name="line")
app.add_typer(audit, name="audit")


def _print_version(wanted: bool) -> None:
    if wanted:
        Console().print(__version__, highlight=False)
        raise typer.Exit


@app.callback()
def irp(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Clean the contaminated training set of an industrial visual anomaly detector."""


@app.command(hidden=True)
def version() -> None:
    """Print the version; as `irp --version`."""
    _print_version(True)


def main() -> None:
    """Entry point."""
    carry_out(app)


if __name__ == "__main__":
    main()
