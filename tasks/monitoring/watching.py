"""Watch a detector: its scores of new images, and the images themselves, against a commissioning window."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from irp_core.config import Params
from irp_core.errors import InputError
from irp_core.inspection import Inspector, Seen, image_files
from irp_core.monitoring.drift import WINDOW
from irp_core.monitoring.health import health
from irp_core.monitoring.repeats import BEFORE, differences, small_picture
from irp_core.monitoring.watched import MEASURED, Watched, watched
from irp_core.packed.images import read_image
from tasks.runtime.progress import bar
from tasks.scoring import open_inspector

__all__ = ["measured", "watch"]


def watch(
    model: str,
    reference: Path,
    new: Path,
    params: Params,
    *,
    window: int = WINDOW,
    allow: Collection[str] = (),
) -> Watched:
    """Hold a folder of new images against one of the commissioning window. Images that cannot be read do not count.

    Args:
        model: as `tasks.scoring.score_images`.
        reference: images that came after the detector was put into service.
        new: new images, taken in the order of their paths.
        window: images per window.

    Raises:
        InputError: as `score_images` and `drift`.
    """
    inspector = open_inspector(model, params, allow=allow)
    before, now = (measured(inspector, _named(folder), params) for folder in (reference, new))
    return watched(model, before, now, size=window)


def _named(folder: Path) -> list[tuple[str, Path]]:
    """The images below a folder by their paths in it."""
    return [(file.relative_to(folder).as_posix(), file) for file in sorted(image_files(folder)[0])]


def measured(
    inspector: Inspector, images: Sequence[tuple[str, Path]], params: Params, before: Sequence[Path] = ()
) -> pd.DataFrame:
    """Scores and health of images, each decoded once: a row of `MEASURED` per image that has a score, in their order.

    Args:
        images: name and file of each.
        before: the files that came just before them, the latest last: the first images may repeat these. One that is
            gone or cannot be read is left out.
    """
    found: dict[Path, dict[str, float]] = {}
    pictures: dict[Path, NDArray[np.uint8]] = {}

    def note(path: Path, seen: Seen) -> None:
        image = Image.fromarray(seen.views[0])
        found[path], pictures[path] = health(image), small_picture(image)

    with bar("Scoring") as advance:
        table = inspector.score(
            [path for _, path in images], workers=params.features.workers, progress=advance, on_seen=note
        )
    table = table.assign(image=[name for name, _ in images], path=[str(path) for _, path in images])
    table = table[table["score"].notna()]
    places = [Path(path) for path in table["path"]]
    figures = pd.DataFrame([found[place] for place in places], index=table.index)
    earlier = [*_pictures(inspector, before[-BEFORE:])]
    figures["difference"] = differences([*earlier, *(pictures[place] for place in places)])[len(earlier) :]
    return pd.concat([table, figures], axis=1).reindex(columns=list(MEASURED)).reset_index(drop=True)


def _pictures(inspector: Inspector, files: Sequence[Path]) -> Iterator[NDArray[np.uint8]]:
    for file in files:
        with suppress(InputError):
            seen = inspector.see(read_image(file, inspector.images.max_bytes))
            yield small_picture(Image.fromarray(seen.views[0]))
