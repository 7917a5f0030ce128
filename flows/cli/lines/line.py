"""`irp line`: a line's definition, one round in the foreground, its schedule on one machine, and how it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows.cli.lines.demo import line_demo
from flows.cli.lines.golden import golden as line_golden
from flows.cli.project import InProject, place_from_project
from flows.cli.session import prefect_session
from irp_core.errors import InputError

__all__ = ["line"]

line = typer.Typer(
    cls=InProject,
    help="Retrain a line's detector on the images that arrive: docs/retraining.md.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)
line.command("demo")(line_demo)
line.command("golden")(line_golden)
console = Console()


def _lines(incomplete: str) -> list[str]:
    from irp_core.line.definition import line_names

    return [name for name in line_names(Path()) if name.startswith(incomplete)]


LineName = Annotated[str, typer.Argument(metavar="LINE", help="The line's name.", autocompletion=_lines)]


@line.command()
def add(
    name: Annotated[str, typer.Argument(metavar="LINE", help="A name: letters, digits, - and _.")],
    inbox: Annotated[
        str,
        typer.Option(
            help="Folder, or address (s3://plant/line3), where the images arrive.", callback=place_from_project
        ),
    ],
    golden: Annotated[
        str | None,
        typer.Option(help="Folder of labelled images: a sub-folder good, one per defect.", callback=place_from_project),
    ] = None,
    cron: Annotated[str | None, typer.Option(help='When a round starts, as cron writes it: "0 2 * * *".')] = None,
    min_new: Annotated[int | None, typer.Option(help="New images that make a round; default 200.")] = None,
    policy: Annotated[str | None, typer.Option(help="Who promotes: manual (default), golden or always.")] = None,
    remote: Annotated[
        str | None,
        typer.Option(
            help="Where the training sets go: a DVC remote, a folder or an address.", callback=place_from_project
        ),
    ] = None,
    webhook: Annotated[str | None, typer.Option(help="Address that is told of events.")] = None,
) -> None:
    """Define a line: writes params/lines/LINE.yaml."""
    from irp_core.line.definition import checked_line, line_file, line_params, write_line

    file = line_file(name, Path())
    if file.exists():
        raise InputError(f"{file}: exists; change it there.")
    values = {
        "name": name, "inbox": inbox, "golden": golden, "cron": cron, "min_new": min_new, "remote": remote,
        "webhook": webhook, "promotion": None if policy is None else {"mode": policy},
    }  # fmt: skip
    made = checked_line({key: value for key, value in values.items() if value is not None}, f"irp line add {name}")
    if "://" not in inbox and not Path(inbox).expanduser().is_dir():
        raise InputError(f"--inbox {inbox}: expected a folder, found none.")
    if golden is not None and not Path(golden).is_dir():
        raise InputError(f"--golden {golden}: expected a folder, found none.")
    line_params(made, Path())
    write_line(made, Path())
    console.print(f"[bold]Line[/bold]   {name}, defined in {file}", highlight=False, soft_wrap=True)
    console.print(f"[bold]Next[/bold]   irp line run {name}       one round now", highlight=False)
    console.print(f"       irp line watch {name}     its schedule, on this machine", highlight=False)
    console.print("       irp deploy            on a Prefect server", highlight=False)


@line.command()
def run(
    name: LineName,
    now: Annotated[bool, typer.Option("--now", help="With fewer new images than a round needs, too.")] = False,
) -> None:
    """Carry out one round in the foreground, or go on with the one that was begun."""
    from flows.line.working import at_work
    from flows.terminal.line import show_outcome
    from irp_core.line.definition import load_line

    definition = load_line(name, Path())
    if busy := at_work(definition):
        console.print(f"Waits for the round that {busy} began.", highlight=False)
    with prefect_session():
        from flows.line.retrain import retrain

        result = retrain(name, ".", now)
    show_outcome(console, definition, result)


@line.command()
def watch(name: LineName) -> None:
    """Run the line's schedule in this process: poll the inbox, start a round when one is due, until Ctrl-C."""
    from flows.terminal.line import show_watching
    from irp_core.line.definition import load_line

    definition = load_line(name, Path())
    with prefect_session(schedules=True):
        from flows.line.serving import watch_line

        show_watching(console, definition)
        watch_line(definition, Path())


@line.command()
def status(name: LineName) -> None:
    """How a line stands: its inbox, the last rounds, what is in service, and what waits for whom."""
    from flows.terminal.line import show_status
    from irp_core.line.definition import line_params, load_line

    definition = load_line(name, Path())
    show_status(console, definition, line_params(definition, Path()))


@line.command("list")
def list_() -> None:
    """The lines that this project defines."""
    from irp_core.line.definition import line_names, load_line

    names = line_names(Path())
    if not names:
        console.print("No line is defined; `irp line add` defines one.", highlight=False)
    for known in names:
        defined = load_line(known, Path())
        console.print(f"{known}  {defined.inbox}  {defined.cron or 'no schedule'}", highlight=False, soft_wrap=True)
