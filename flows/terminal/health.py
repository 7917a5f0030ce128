"""What the images of a prepared set are like, at a glance, and which are unlike the others."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from flows.terminal.tables import plain_table
from irp_core.run.files import HEALTH
from irp_core.run.prepared import PreparedSet

__all__ = ["show_health"]

_NAMED = 8  # images


def show_health(console: Console, prepared: PreparedSet) -> None:
    """A line per measure, then the images that are unlike the others; nothing where none were measured."""
    table = prepared.health()
    if table.empty:
        return
    from irp_core.monitoring.set_health import summary_of

    title = f"What the {len(table)} training images are like"
    shown = plain_table(title, "measure", "5 %", "median", "95 %", "unlike the others")
    for row in summary_of(table):
        cells = [str(row[name]) for name in ("measure", "low", "median", "high", "odd")]
        shown.add_row(*cells[:-1], "" if cells[-1] == "0" else cells[-1])
    sizes = (table["width"].astype(str) + " x " + table["height"].astype(str)).value_counts()
    others = f", and {len(sizes) - 1} other sizes" if len(sizes) > 1 else ""
    console.print(shown)
    console.print(f"Size: {sizes.index[0]} pixels in {sizes.iloc[0]} images{others}.", highlight=False)
    copies = prepared.near_copies()
    if len(copies):
        groups = copies["group"].nunique()
        console.print(f"Near-copies: {len(copies)} images in {groups} groups.", highlight=False)
    odd = table[table["odd"] != ""]
    for row in odd.head(_NAMED).to_dict("records"):
        console.print(f"{escape(row['image_id'])}: {row['odd']}", style="yellow", highlight=False, soft_wrap=True)
    if len(odd) > _NAMED:
        console.print(f"and {len(odd) - _NAMED} more in {HEALTH}", style="yellow", highlight=False)
