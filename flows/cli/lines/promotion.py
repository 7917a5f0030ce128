"""`irp promote`, `irp reject`, `irp rollback`: what a person decides about a line's versions. No server is started."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from flows.cli.names import default_name
from irp_core.errors import InputError

if TYPE_CHECKING:
    from irp_core.config import Params
    from irp_core.config.lines import Line

__all__ = ["promote", "reject", "rollback"]

Version = Annotated[str, typer.Argument(metavar="LINE/VERSION", help="A version of a line, for example line3/7.")]
By = Annotated[str | None, typer.Option(help="Who decides; default: git's user.name, else the login.")]
Why = Annotated[str, typer.Option(help="The reason, for the record.")]
console = Console()


def promote(version: Version, why: Why, by: By = None) -> None:
    """Put a version of a line into service."""
    from tasks.promotion.deciding import promote_version
    from tasks.promotion.registry import split_version

    name, number = split_version(version)
    record = promote_version(*_opened(name), number, _who(by), why)
    replaced = f", instead of {name}/{record.replaced}" if record.replaced else ""
    console.print(f"{version} is in service ({name}@champion){replaced}.", highlight=False, soft_wrap=True)


def reject(
    version: Version,
    why: Why,
    by: By = None,
    set_aside: Annotated[
        bool, typer.Option("--set-aside", help="No longer train on the images that were new in its round.")
    ] = False,
) -> None:
    """Do not put a version of a line into service."""
    from tasks.promotion.deciding import refuse_version
    from tasks.promotion.registry import split_version

    name, number = split_version(version)
    _, aside = refuse_version(*_opened(name), number, _who(by), why, set_aside=set_aside)
    told = f"; {aside} images are not trained on any more" if set_aside else ""
    console.print(f"{version} is refused{told}.", highlight=False, soft_wrap=True)


def rollback(
    line: Annotated[str, typer.Argument(metavar="LINE", help="The line's name.")],
    why: Why,
    by: By = None,
    to: Annotated[int | None, typer.Option(help="Version to go back to; default: the one that was replaced.")] = None,
) -> None:
    """Take the version in service back: the one before it is in service again.

    From then on the line's policy promotes nothing until a person has promoted a version.
    """
    from tasks.promotion.deciding import roll_back_line

    record = roll_back_line(*_opened(line), _who(by), why, None if to is None else str(to))
    console.print(
        f"{line}/{record.replaced} is in service again ({line}@champion); {line}/{record.version} is taken back.",
        highlight=False,
        soft_wrap=True,
    )


def _opened(name: str) -> tuple[Line, Params]:
    from irp_core.line.definition import line_params, load_line

    line = load_line(name, Path())
    return line, line_params(line, Path())


def _who(by: str | None) -> str:
    name = by or default_name()
    if name.startswith("policy "):
        raise InputError(f"--by {name!r}: expected a person's name.")
    if not name:
        raise InputError("--by: expected the name of who decides, found none.")
    return name
