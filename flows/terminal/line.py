"""How a line stands, in the terminal: what came of a round, and what waits for whom."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from irp_core.config import Params
from irp_core.config.lines import Line
from irp_core.errors import InputError
from irp_core.line.folder import LineFolder
from irp_core.line.ledger import DOUBLE, TAKEN, UNREADABLE, UNUSABLE, VANISHED, WAITING, Ledger
from irp_core.line.rounds import LineRound, round_of, rounds_of
from irp_core.refinement.reviews import REMOVED_BY_REVIEW

if TYPE_CHECKING:
    from tasks.feedback.answers import Feedback

__all__ = ["show_feedback", "show_outcome", "show_status", "show_watching"]

_ROUNDS = 10  # the latest that are shown
_PROBLEMS = 10


def show_outcome(console: Console, line: Line, result: dict[str, Any]) -> None:
    """What came of a round, and what to type next."""
    outcome = result["outcome"]
    if "round" not in result:
        images = Ledger(LineFolder(line.name).ledger).images()
        new = int((images["round"].isna() & images["set_aside"].isna()).sum())
        said = f"Nothing new: {new} new images, and a round needs {line.min_new} (or --now)."
        console.print(said, highlight=False, soft_wrap=True)
        return
    version = f"{line.name}/{result['version']}"
    number = int(result["round"])
    words = {
        "promoted": f"[bold green]{version} is in service[/]",
        "waits": f"[bold yellow]{version} waits for a person's decision[/]",
        "refused": f"[bold red]{version} is refused[/]",
    }
    console.print(f"Round {number}: {words.get(outcome, outcome)}.", highlight=False, soft_wrap=True)
    console.print(escape(str(result["why"])), highlight=False, soft_wrap=True)
    page = round_of(LineFolder(line.name), number).page
    rows = [("Run", str(result["run"])), ("Comparison", str(page)), ("Set", result["published"]["dvc_file"])]
    if outcome == "waits":
        rows += [("Next", f"irp promote {version} --why …"), ("", f"irp reject {version} --why …")]
    if outcome == "refused":
        rows += [("Next", f"irp review {result['run']} --ask 30"), ("", f"irp line status {line.name}")]
    grid = Table.grid(padding=(0, 2))
    for name, value in rows:
        grid.add_row(f"[bold]{name}[/bold]", escape(value))
    console.print(grid, highlight=False, soft_wrap=True)


def show_watching(console: Console, line: Line) -> None:
    """What `irp line watch` is about to do."""
    when = f"a round at {line.cron} ({line.timezone})" if line.cron else "no schedule"
    console.print(
        f"Watching {line.inbox}: a poll every {line.taking.poll} s, a round at {line.min_new} new images, {when}. "
        "Ctrl-C ends it; a round that is broken off goes on the next time.",
        highlight=False,
        soft_wrap=True,
    )


def show_status(console: Console, line: Line, params: Params) -> None:
    """The inbox, the last rounds, the versions with an alias, and what waits."""
    folder = LineFolder(line.name)
    console.print(f"[bold]{line.name}[/bold]  inbox {line.inbox}", highlight=False, soft_wrap=True)
    if not folder.ledger.exists():
        console.print(f"Nothing was taken in yet: irp line run {line.name}", highlight=False)
        return
    _show_inbox(console, line, Ledger(folder.ledger))
    rounds = rounds_of(folder)
    _show_rounds(console, rounds)
    _show_versions(console, line, params)


def _show_inbox(console: Console, line: Line, ledger: Ledger) -> None:
    images, files = ledger.images(), ledger.files()
    counts = Counter(files["state"])
    new = images[images["round"].isna() & images["set_aside"].isna()]
    aside = int(images["set_aside"].notna().sum())
    parts = [f"{len(images)} images", f"{len(new)} of them new (a round needs {line.min_new})"]
    if aside:
        parts.append(f"{aside} set aside")
    if counts.get(WAITING):
        parts.append(f"{counts[WAITING]} files still being written")
    console.print(", ".join(parts) + ".", highlight=False, soft_wrap=True)
    if line.taking.take == "hardlink":
        console.print("taking.take is hardlink: the inbox' files become read-only.", style="yellow", highlight=False)
    problems = files[files["state"].isin((UNREADABLE, UNUSABLE, VANISHED, DOUBLE))]
    for row in problems.sort_values("decided_at").tail(_PROBLEMS).to_dict("records"):
        console.print(f"  {escape(row['path'])}: {escape(str(row['note']))}", style="yellow", highlight=False)
    if len(problems) > _PROBLEMS:
        console.print(f"  and {len(problems) - _PROBLEMS} more of {len(files) - counts.get(TAKEN, 0)} files not taken")


def _show_rounds(console: Console, rounds: list[LineRound]) -> None:
    if not rounds:
        console.print("No round was begun yet.")
        return
    table = Table(title="Rounds", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("round", "began", "new", "images", "version", "outcome", "why"):
        table.add_column(column, overflow="fold", max_width=60 if column == "why" else None)
    for this in rounds[-_ROUNDS:]:
        try:
            record = this.record()
        except InputError as error:
            table.add_row(str(this.number), "–", "–", "–", "–", "[red]damaged[/]", escape(str(error)))
            continue
        began = time.strftime("%Y-%m-%d %H:%M", time.localtime(record["began"]))
        outcome = record.get("outcome", "[yellow]not ended[/]")
        why = escape(str(record.get("why", f"irp line run goes on with it ({record['reason']})")))
        cells = [str(this.number), began, str(len(record["new"])), str(record["images"])]
        table.add_row(*cells, str(record.get("version", "–")), outcome, why)
    console.print(table)


def _show_versions(console: Console, line: Line, params: Params) -> None:
    from tasks.promotion.registry import CHALLENGER, open_registry

    with open_registry(line, params) as registry:
        aliases, held, records = registry.aliases(), registry.held(), registry.records()
    for alias, version in sorted(aliases.items()):
        last = [record for record in records if record.version == version]
        said = f": {last[-1].event} by {last[-1].by}, {last[-1].at[:16]}" if last else ""
        console.print(f"[bold]{alias}[/bold]  {line.name}/{version}{escape(said)}", highlight=False, soft_wrap=True)
    if waiting := aliases.get(CHALLENGER):
        version = f"{line.name}/{waiting}"
        console.print(f"[yellow]{version} waits for a person[/]: irp promote {version} --why …, or irp reject")
    if held is not None:
        said = f"Since {held.by} took {line.name}/{held.version} back, only a person promotes a version."
        console.print(said, style="yellow", highlight=False, soft_wrap=True)


def show_feedback(console: Console, feedback: Feedback, before: Collection[str], line: Line | None) -> None:
    """What was answered about a service's kept images, and what to type next."""
    said = feedback.said()
    answered = [said[row["md5"]]["decision"] for row in feedback.kept.rows() if row["md5"] in said]
    defective = answered.count(REMOVED_BY_REVIEW)
    console.print(
        f"{len(set(said) - set(before))} images answered now; of {len(feedback.kept)} kept, {defective} are called "
        f"defective, {len(answered) - defective} good, and {len(feedback.kept) - len(answered)} are open.",
        highlight=False,
        soft_wrap=True,
    )
    console.print(f"The answers are in {feedback.decisions}: every later run respects them.", highlight=False)
    if line is not None and line.golden is not None and defective:
        command = f'irp line golden {line.name} --why "…"'
        console.print(
            f"[bold]Next[/bold]  {command}   (the defects into {line.golden})", highlight=False, soft_wrap=True
        )
