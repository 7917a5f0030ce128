"""The demo plant as a line's inbox: a golden set, and batches that arrive night after night.

Image i of a kind is always the same, so a batch names the images that it takes: none is in two of them.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from irp_core.atomic import write_json
from irp_core.demo.plant import write_demo_plant

__all__ = ["Batch", "deliver", "write_line_plant"]


@dataclass(frozen=True)
class Batch:
    """What arrives in one night: numbers of good and of defective images."""

    good: int
    defective: int


def write_line_plant(
    root: Path, batches: list[Batch], *, golden: Batch, size: int = 256, seed: int = 0, workers: int | None = None
) -> None:
    """Write `root/golden` (folders `good` and `defective`) and `root/night-1`, `root/night-2` … with the images of each
    batch in one folder, as a camera leaves them: nothing in their names tells good from defective. `root/nights.json`
    says which are defective.

    Args:
        golden: numbers of labelled images.
    """
    plant = root / "plant"
    write_demo_plant(
        plant,
        size=size,
        train_good=sum(batch.good for batch in batches),
        test_good=golden.good,
        defective=golden.defective + sum(batch.defective for batch in batches),
        seed=seed,
        workers=workers,
    )
    goods = sorted((plant / "train" / "good").iterdir())
    tested = [path for path in plant.glob("test/*/*") if path.parent.name != "good"]
    defects = sorted(tested, key=lambda path: (path.name, path.parent.name))
    _copy(sorted((plant / "test" / "good").iterdir())[: golden.good], root / "golden" / "good", "good")
    _copy(defects[: golden.defective], root / "golden" / "defective", "defective")
    defects = defects[golden.defective :]
    defective: dict[int, list[str]] = {}
    for night, batch in enumerate(batches, start=1):
        # Interleaved, so that no part of the night is better than another.
        taken = [*goods[: batch.good], *defects[: batch.defective]]
        order = sorted(range(len(taken)), key=lambda at: (at * 0.618034) % 1)
        names = _copy([taken[at] for at in order], root / f"night-{night}", f"shot-{night}")
        defective[night] = [name for at, name in zip(order, names, strict=True) if at >= batch.good]
        goods, defects = goods[batch.good :], defects[batch.defective :]
    write_json(root / "nights.json", defective)
    shutil.rmtree(plant)


def deliver(root: Path, night: int, inbox: Path) -> int:
    """Move the images of a night into the inbox; returns how many."""
    inbox.mkdir(parents=True, exist_ok=True)
    images = sorted((root / f"night-{night}").iterdir())
    for image in images:
        image.replace(inbox / image.name)
    return len(images)


def _copy(images: list[Path], folder: Path, name: str) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{name}-{number:04d}{image.suffix}" for number, image in enumerate(images)]
    for image, new in zip(images, names, strict=True):
        shutil.copyfile(image, folder / new)
    return names
