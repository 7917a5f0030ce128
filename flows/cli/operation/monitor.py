"""`irp monitor`: whether new images still look like those that a detector was commissioned on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from flows.cli.options import AllowDetectors, Overrides, ParamsFile, RunOrModel, read_params, reference_of
from irp_core.errors import InputError

if TYPE_CHECKING:
    from irp_core.config.lines import Line
    from irp_core.monitoring.watched import Watched

__all__ = ["monitor"]


def monitor(
    model: RunOrModel,
    new: Annotated[
        Path | None, typer.Argument(metavar="NEW", help="Folder of new images, in the order of their names.")
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(help="Folder of images that came just after the detector was put into service; 100 or more."),
    ] = None,
    window: Annotated[int, typer.Option(min=100, help="Images per window.")] = 100,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write the windows here (.csv).")] = None,
    page: Annotated[Path | None, typer.Option(help="Write a page here (.html).")] = None,
    line: Annotated[str | None, typer.Option(help="Tell this line's webhook, and Prefect, of an alarm.")] = None,
    params: ParamsFile = None,
    set_param: Overrides = None,
    allow_detector: AllowDetectors = None,
) -> None:
    """Compare new images with a commissioning window: do the scores drift, and what changed in the images?

    `irp monitor LINE` looks at what the line took in since its detector was put into service: no folder is needed.
    """
    for option, file, ending in (("--output", output, ".csv"), ("--page", page, ".html")):
        if file is not None and file.suffix != ending:
            raise InputError(f"{option} must end in {ending}. Got {file.name!r}.")
    if new is None or reference is None:
        if new is not None or reference is not None:
            raise InputError(f"irp monitor {model}: expected a folder of new images and --reference, found only one.")
        found = _of_line(model)
        if page is not None:
            raise InputError("--page: the page of a line has its place; it is named at the end.")
    else:
        found = _of_folders(model, new, reference, window, page, line, read_params(params, set_param), allow_detector)
    if output is not None:
        from irp_core.atomic import atomic_path

        with atomic_path(output) as temporary:
            found.windows.to_csv(temporary, index=False)


def _of_line(name: str) -> Watched:
    from irp_core.line.definition import line_params, load_line

    definition = load_line(name, Path.cwd())
    from flows.line.monitor import look_at_line

    seen = look_at_line(definition, line_params(definition, Path.cwd()))
    console = Console()
    _show(console, seen.watched)
    console.print(f"Page: {seen.page}", highlight=False, soft_wrap=True)
    _complain(seen.problems)
    return seen.watched


def _of_folders(
    model: str, new: Path, reference: Path, window: int, page: Path | None, line: str | None, checked: Any,
    allow: list[str] | None,
) -> Watched:  # fmt: skip
    told: Line | None = None
    if line is not None:
        from irp_core.line.definition import load_line

        told = load_line(line, Path.cwd())  # a mistake is said before anything is scored
    from irp_core.monitoring.watched import alarm_began, alarm_reason
    from tasks.monitoring import watch

    found = watch(reference_of(model, checked), reference, new, checked, window=window, allow=allow or ())
    console = Console()
    _show(console, found)
    if page is not None:
        from irp_core.report.monitoring import render_monitoring

        render_monitoring(found, checked.images, page, title=model)
        console.print(f"Page: {page}", highlight=False, soft_wrap=True)
    began = alarm_began(found.windows)
    if began is not None and told is not None:
        from tasks.notify import tell

        payload = {"reason": alarm_reason(began), "model": model, "since": began["first"]}
        _complain(tell(told, "drift", payload, by="monitor"))
    return found


def _complain(problems: Any) -> None:
    for problem in problems:
        Console(stderr=True).print(problem, style="yellow", highlight=False, soft_wrap=True)


def _show(console: Console, found: Watched) -> None:
    if len(found.windows):
        console.print(_table(found.windows))
    console.print(found.verdict, highlight=False, soft_wrap=True)


def _table(windows: Any) -> Table:
    shown = Table("window", "first image", "KS", "p", "alarms", "p", "PSI", "Wasserstein", "", "the images")
    for row in windows.to_dict("records"):
        shown.add_row(
            str(row["window"]), row["first"], f"{row['ks']:.2f}", f"{row['ks_p']:.1g}", f"{row['alarm_share']:.0%}",
            f"{row['share_p']:.1g}", f"{row['psi']:.2f}", f"{row['wasserstein']:.3g}",
            "[bold red]alarm" if row["alarm"] else "", row["changed"],
        )  # fmt: skip
    return shown
