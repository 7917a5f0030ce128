"""The demo plant: a seeded, procedural inspection line, written in MVTec AD's folder layout.

It lets the whole pipeline run without any data, and means something: defects run from obvious to faint, and
4 % of the good images are odd (a glare, a dark frame, an unusual grain) without being bad.

Example:
    >>> tile = render_tile(np.random.default_rng(0), size=64, defect="stain", severity=0.9)
    >>> tile.image.shape, bool(tile.mask.any())
    ((64, 64, 3), True)
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from irp_core.demo.defects import DEFECTS
from irp_core.demo.render import ODD_KINDS, Flaw, build_scene, compose, expose

__all__ = ["DEFECT_KINDS", "ODD_KINDS", "Tile", "render_tile", "write_demo_plant"]

DEFECT_KINDS: tuple[str, ...] = tuple(DEFECTS)
GENERATOR = 1  # part of a plant's identity: raise it whenever the same arguments would give other bytes
ODD_EVERY = (1, 25)  # one in each run of 25 good images is odd: 4 %, without the luck of the draw
VISIBLE = 3 / 255  # a change of fewer grey levels drowns in the sensor's noise: no annotator would outline it


@dataclass(frozen=True)
class Tile:
    """One photograph: `image` uint8 (H, W, 3), `mask` bool (H, W), True where the defect shows."""

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    defect: str | None
    severity: float | None
    odd: str | None


def render_tile(
    rng: np.random.Generator,
    *,
    size: int = 256,
    position_in_shift: float = 0.5,
    defect: str | None = None,
    severity: float | None = None,
    odd: str | None = None,
) -> Tile:
    """Photograph one plate.

    `position_in_shift` in [0, 1] sets how far the lamps have drifted; `severity` in [0, 1] is drawn with density 2s
    if a defect comes without one. The same generator state with and without `defect` gives the same plate:
    the mask is where the two differ by more than about three grey levels, closed and filled as an annotator
    would. Raises ValueError for an unknown kind or a value outside its range.
    """
    if defect is not None and defect not in DEFECT_KINDS:
        raise ValueError(
            f"The 'defect' parameter of render_tile must be one of {DEFECT_KINDS} or None. Got {defect!r} instead."
        )
    if odd is not None and odd not in ODD_KINDS:
        raise ValueError(f"The 'odd' parameter of render_tile must be one of {ODD_KINDS} or None. Got {odd!r} instead.")
    if size < 32:
        raise ValueError(f"The 'size' parameter of render_tile must be an int in [32, inf). Got {size} instead.")
    for name, value in (("severity", severity), ("position_in_shift", position_in_shift)):
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"The '{name}' parameter of render_tile must be a float in [0, 1]. Got {value} instead.")
    # Two streams, so that what the defect draws does not shift what the plate draws.
    plate_rng, flaw_rng = (np.random.default_rng(int(s)) for s in rng.integers(2**63, size=2))
    scene = build_scene(plate_rng, size, position_in_shift, odd)
    clean = compose(scene, Flaw())
    if defect is None:
        return Tile(expose(scene, clean), np.zeros((size, size), bool), None, None, odd)
    # Density 2s: on a line that is watched, most flaws that end up in a picture can be seen in it.
    drawn = float(np.sqrt(flaw_rng.uniform()))
    severity = drawn if severity is None else float(severity)
    marked = compose(scene, DEFECTS[defect](flaw_rng, scene, severity))
    change = (np.abs(marked - clean) * scene.lens).max(axis=2)
    # The weakest defect still has a mask: its strongest pixels.
    mask = change > min(VISIBLE, 0.5 * float(change.max()))
    rows, cols = (slice(*np.flatnonzero(mask.any(axis=a))[[0, -1]] + (0, 1)) for a in (1, 0))
    mask[rows, cols] = ndimage.binary_fill_holes(ndimage.binary_closing(np.pad(mask[rows, cols], 1)))[1:-1, 1:-1]
    return Tile(expose(scene, marked), mask, defect, severity, odd)


@dataclass(frozen=True)
class _Shot:
    """One image to make. It knows (seed, split, i) and the size, so the image can depend on nothing else."""

    seed: int
    stream: int  # 0 train/good, 1 test/good, 2 defective
    index: int
    size: int

    def render(self) -> tuple[Tile, str, str | None]:
        """The tile, its path in the plant, and its mask's path if it has one."""
        rng = np.random.default_rng([self.seed, self.stream, self.index])
        position = self.index * 0.618034 % 1  # golden-ratio steps cover the shift evenly, however many images there are
        if self.stream < 2:
            run, place = divmod(self.index, ODD_EVERY[1])
            chosen = np.random.default_rng([self.seed, self.stream, run, 1]).permutation(ODD_EVERY[1])[: ODD_EVERY[0]]
            odd = str(rng.choice(ODD_KINDS)) if place in chosen else None
            tile = render_tile(rng, size=self.size, position_in_shift=position, odd=odd)
            return tile, f"{('train', 'test')[self.stream]}/good/{self.index:04d}.jpg", None
        number, kind = divmod(self.index, len(DEFECT_KINDS))
        defect = DEFECT_KINDS[kind]
        tile = render_tile(rng, size=self.size, position_in_shift=position, defect=defect)
        return tile, f"test/{defect}/{number:04d}.jpg", f"ground_truth/{defect}/{number:04d}_mask.png"


def write_demo_plant(
    root: Path,
    *,
    size: int = 256,
    train_good: int = 240,
    test_good: int = 60,
    defective: int = 120,
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a plant into `root` and return it.

    The layout is MVTec AD's: `train/good/0000.jpg`, `test/good/…`, `test/<kind>/…`, and masks of 0 and 255 in
    `ground_truth/<kind>/0000_mask.png`; the kinds take turns. Besides, `plant.csv` lists path, defect,
    severity and odd of every image, and `plant.json` the arguments. The same arguments give the same bytes,
    and image i of a split is the same in a larger plant.

    The plant appears under `root` only when it is complete; if it is there already, made with the same
    arguments, nothing is done. `workers` threads share the work (None: one per CPU); `progress(done, total)`
    is called after each image. Raises FileExistsError if `root` is anything else than that plant or an empty
    folder, ValueError for a number out of range.
    """
    counts = {"train_good": train_good, "test_good": test_good, "defective": defective, "seed": seed}
    for name, value in counts.items():
        if value < 0:
            raise ValueError(
                f"The '{name}' parameter of write_demo_plant must be an int in [0, inf). Got {value} instead."
            )
    arguments = {"generator": GENERATOR, "size": size, **counts}
    root = Path(root)
    if _is_complete(root, arguments):
        return root
    shots = [_Shot(seed, s, i, size) for s, n in enumerate((train_good, test_good, defective)) for i in range(n)]
    root.parent.mkdir(parents=True, exist_ok=True)
    part = root.with_name(f".{root.name}.{os.getpid()}.partial")
    shutil.rmtree(part, ignore_errors=True)
    try:
        for split in (
            "train/good",
            "test/good",
            *(f"{t}/{k}" for t in ("test", "ground_truth") for k in DEFECT_KINDS),
        ):
            (part / split).mkdir(parents=True)
        rows = []
        with closing(_work(part, shots, workers)) as work:  # so that no thread still writes when the folder goes
            for row in work:
                rows.append(row)
                if progress is not None:
                    progress(len(rows), len(shots))
        with (part / "plant.csv").open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream, lineterminator="\n").writerows([("path", "defect", "severity", "odd"), *rows])
        (part / "plant.json").write_text(json.dumps(arguments, indent=2) + "\n", encoding="utf-8")
        if not _is_complete(root, arguments):  # another process may have been faster
            part.replace(root)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return root


def _is_complete(root: Path, arguments: dict[str, int]) -> bool:
    """Whether `root` holds this plant already; False if it is free; FileExistsError if it is taken."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    try:
        found = json.loads((root / "plant.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise FileExistsError(f"'{root}' exists and is not a demo plant; choose another folder or remove it.") from None
    if found != arguments:
        raise FileExistsError(
            f"'{root}' is a demo plant made with {found}, not with {arguments}; choose another folder or remove it."
        )
    return True


def _work(part: Path, shots: list[_Shot], workers: int | None) -> Generator[tuple[str, str, str, str], None, None]:
    """Rows of `plant.csv`, in order."""
    # Threads: numpy, scipy and Pillow release the interpreter's lock for most of the work, and a process
    # would spend longer on importing this package, which imports torch, than on drawing its share.
    with ThreadPoolExecutor(workers or len(os.sched_getaffinity(0))) as pool:
        yield from pool.map(partial(_write, part), shots)


def _write(part: Path, shot: _Shot) -> tuple[str, str, str, str]:
    tile, path, mask_path = shot.render()
    Image.fromarray(tile.image).save(part / path, quality=92)
    if mask_path is not None:
        Image.fromarray(tile.mask.astype(np.uint8) * 255).save(part / mask_path)
    return path, tile.defect or "", "" if tile.severity is None else f"{tile.severity:.4f}", tile.odd or ""
