"""What lines keep: the weights of their versions, the images that they took in, the folders of their rounds."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow.tracking import MlflowClient

from irp_core.config.lines import Line
from irp_core.errors import InputError
from irp_core.line.definition import line_names, load_line
from irp_core.line.folder import LineFolder
from irp_core.line.ledger import Ledger
from irp_core.line.rounds import LineRound, round_of, rounds_of
from irp_core.line.selection import in_window
from irp_core.retention import Item
from tasks.promotion.registry import ROUND, STATE, WAITING
from tasks.retention.runs import measure
from tasks.tracking.queries import all_versions
from tasks.tracking.records import PROMOTED, ROLLED_BACK

__all__ = ["delete_of_line", "held_versions", "line_items"]

_LOG = logging.getLogger(__name__)


def held_versions(client: MlflowClient, registered: Mapping[str, Sequence[str]], keep: int) -> dict[str, str]:
    """MLflow run → why the weights of a registered version that was made of it are needed.

    Of a line: a version with an alias, one that waits for a decision, and the latest `keep` that were in service. A
    refused one needs them no longer. Any other registered version does.

    Args:
        registered: MLflow run → the versions that were made of it, as `NAME/version` with their aliases.
    """
    served: dict[str, list[int]] = {}
    found = list(all_versions(client))
    for version in found:
        if version.tags.get(STATE) in (PROMOTED, ROLLED_BACK):
            served.setdefault(version.name, []).append(int(version.version))
    latest = {name: set(sorted(numbers)[-keep:]) for name, numbers in served.items()}
    held = {run: f"{name} was made of them" for run, names in registered.items() for name in names if "@" in name}
    for version in found:
        state, run, name = version.tags.get(STATE), str(version.run_id), f"{version.name}/{version.version}"
        if state is None:
            held.setdefault(run, f"{name} was made of them")
        elif state == WAITING:
            held.setdefault(run, f"{name} waits for a decision")
        elif int(version.version) in latest.get(version.name, ()):
            held.setdefault(run, f"{name} was in service: a rollback may go back to it")
    return held


def line_items(client: MlflowClient) -> list[Item]:
    """The images and the rounds of all lines of the project in the current folder."""
    items: list[Item] = []
    for name in line_names(Path()):
        try:
            line = load_line(name, Path())
            if LineFolder(name).ledger.exists():
                items += _items(line, [v for v in all_versions(client, name) if v.aliases])
        except InputError as error:
            _LOG.warning("What the line %s keeps is left alone: %s", name, error)
    return items


def _items(line: Line, in_service: Sequence[Any]) -> list[Item]:
    folder = LineFolder(line.name)
    rounds = rounds_of(folder)
    kept: dict[Path, str] = {this.path: "it did not end" for this in rounds if not this.ended}
    kept |= {this.path: "the next round goes on from it" for this in rounds[-1:]}
    for version in in_service:
        if ROUND in version.tags:
            path = round_of(folder, version.tags[ROUND]).path
            kept[path] = f"{line.name}/{version.version} @{version.aliases[0]} was made in it"
    images = Ledger(folder.ledger).images()
    needed = dict.fromkeys(in_window(images, line.history)["image_id"], "the next round trains on it")
    for path, why in kept.items():
        if path.is_dir():
            if damage := LineRound(path).damage():
                raise InputError(f"{damage}.")
            held = LineRound(path).prepared.manifest()["image_id"]
            needed |= dict.fromkeys(set(held) - needed.keys(), f"round {int(path.name)} has it: {why}")
    items = []
    for image, taken in zip(images["image_id"], images["taken_at"], strict=True):
        file = folder.images / image
        if file.is_file():
            facts = file.stat()
            size = facts.st_size if facts.st_nlink == 1 else 0
            items.append(Item("image", f"{line.name}/{image}", size, float(taken), line.name, needed.get(image)))
    for this in rounds:
        record = this.record()
        size, _ = measure(this.path)
        since = float(record.get("ended", record.get("began", 0.0)))
        items.append(Item("round", f"{line.name}/{this.path.name}", size, since, line.name, kept.get(this.path)))
    return items


def delete_of_line(kind: str, name: str) -> None:
    """Delete an image (`LINE/image_id`) or the folder of a round (`LINE/number`); the ledger knows the image still.

    Raises:
        InputError: it lies elsewhere than in the line's folder.
    """
    line, _, rest = name.partition("/")
    folder = LineFolder(line)
    root = folder.images if kind == "image" else folder.rounds
    place = root / rest
    if not place.resolve().is_relative_to(root.resolve()) or place.resolve() == root.resolve():
        raise InputError(f"{place}: expected a file of the line {line}, found one elsewhere.")
    if kind == "round":
        shutil.rmtree(place)
        return
    place.unlink(missing_ok=True)
    for above in place.parents:  # the day's folder, once it is empty
        if above == root or any(above.iterdir()):
            break
        above.rmdir()
