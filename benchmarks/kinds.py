"""Good images of two kinds: nothing is wrong with them, so none should be removed.

`python -m benchmarks.kinds DATA -S features.backbone=resnet18 -S features.weights=FILE`: three in ten good images of a
data set are replaced by altered ones (darker, out of focus, nearer, turned), as another lot or another camera would
make them; prints how many of each kind `refinement.method` removes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
from PIL import Image, ImageEnhance, ImageFilter

from benchmarks.choosing.runs import loaded
from irp_core.data.scan import scan
from irp_core.features.images import decode
from irp_core.params_file import load_params
from irp_core.refinement.in_memory import refine_in_memory

KINDS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "plain": lambda image: image,
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.6),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(1.5)),
    "nearer": lambda image: image.resize(image.size, Image.Resampling.BICUBIC, box=_middle(image)),
    "turned": lambda image: image.rotate(90, expand=True),
}
_SECOND = 3  # in ten images are of the second kind


def _middle(image: Image.Image) -> tuple[float, float, float, float]:
    width, height = image.size
    return width / 8, height / 8, width * 7 / 8, height * 7 / 8


def _main(
    data: Annotated[Path, typer.Argument(help="Folder of a data set; its good images are used.")],
    set_param: Annotated[list[str] | None, typer.Option("-S", help="section.key=value")] = None,
    sizes: Annotated[str, typer.Option(help="Images per set, comma-separated.")] = "120,300",
) -> None:
    """Refine one set per kind and size."""
    params = load_params(Path("params.yaml"), ["detector.name=gaussian", *(set_param or [])])
    good = scan(data, params.dataset.layout).manifest.query("label == 'good'")
    counts = [int(size) for size in sizes.split(",")]
    drawn = np.random.default_rng(params.run.seed).permutation(good["image_id"])[: max(counts)]
    with tempfile.TemporaryDirectory() as folder:
        for number, image_id in enumerate(drawn):
            image = decode((data / image_id).read_bytes())
            for kind, alter in KINDS.items():
                target = Path(folder) / "good" / f"{number:04d}-{kind}.png"
                target.parent.mkdir(exist_ok=True)
                if kind == "plain" or number % 10 < _SECOND:
                    alter(image).save(target)
        found, of, _ = loaded(Path(folder), params)
        name = found["image_id"].str.extract(r"(?P<number>\d+)-(?P<kind>\w+)")
        place, kind = name["number"].astype(int), name["kind"]
        for count in counts:
            for other in list(KINDS)[1:]:
                second = (place % 10 < _SECOND) & (kind == other)
                chosen = (place < count) & (second | ((place % 10 >= _SECOND) & (kind == "plain")))
                rows: pd.DataFrame = found[chosen]
                gone = ~refine_in_memory(rows, of(rows), params).kept
                n = int(second[chosen].sum())
                hit = int(gone[second[chosen]].sum())
                print(
                    f"{len(rows)} images, {n} of them {other}: {hit} of these removed, {int(gone.sum()) - hit} others"
                )


if __name__ == "__main__":
    typer.run(_main)
