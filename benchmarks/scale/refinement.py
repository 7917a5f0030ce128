"""What a refinement of many images costs: made-up features in the store, then the real command on them.

python -m benchmarks.scale 10000 100000          (make scale)
python -m benchmarks.scale 1000000 --yes         (make scale-full: asks first without --yes)
python -m benchmarks.scale 5000 20000 --processor -S detector.name=ensemble -S features.cell_scale=256

Images are tiny files of random grey values; their features are made up and put into the store, so that none goes
through the network (extraction is measured by `make bench`). `irp refine` then runs with its defaults under
`ulimit -n 256`: scan, score, decide, snapshot, train, track, report. The same command again shows what the record of
known files saves.
Written: `scale.csv` (seconds by stage, peak anonymous memory) and, of two sizes, `scale.svg` with the exponents; with
`--processor` seconds of the command's processor time, which say the same on a machine that is shared.
"""

from __future__ import annotations

import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import typer
from PIL import Image
from rich.console import Console
from rich.table import Table

import tasks.runtime.environment  # noqa: F401
from irp_core.config import Params
from irp_core.features.pipeline import FeaturePipeline
from irp_core.features.segments import Keys, digests_of, write_segment
from irp_core.features.store import FeatureStore
from irp_core.hashing import file_md5
from irp_core.params_file import load_params
from irp_core.refinement.scoring import local_needed, only_of
from irp_core.run.directory import RunDirectory

__all__ = ["main", "measure"]

SIDE = 16  # pixels, of the made-up images
ODD = 0.01  # share of images whose features are drawn further out
OPEN_FILES = 256
SAMPLE = 0.2  # seconds, between looks at the memory
FOLDER = 1000  # images per folder of the made-up set
SHOWN = 1.0  # seconds, from which a stage of the larger run has an exponent
# For the announcement, as measured at 10,000 images (docs/scale.md):
BYTES, SECONDS = 51_000, 0.006  # an image: disk; processor time with one round of votes
CELLS, FIXED = 340_000_000, 90.0  # of the 5,000 images with cells: bytes; seconds of processor time, with start-up


def write_images(root: Path, count: int) -> list[str]:
    """Tiny grey images of random pixels below `root`; returns their md5s."""
    rng = np.random.default_rng(0)
    md5s = []
    for number in range(count):
        file = root / f"{number // FOLDER:05d}" / f"{number:07d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)).save(file, compress_level=1)
        md5s.append(file_md5(file))
    old = time.time() - 3600  # as the files of a line that did not write them a second ago
    for file in root.rglob("*.png"):
        os.utime(file, (old, old))
    return md5s


def write_features(params: Params, root: Path, md5s: Sequence[str]) -> int:
    """Made-up features of these images, in the store; returns their bytes on disk."""
    needs = local_needed(params)
    pipeline = FeaturePipeline(params, None, needs)
    first = next(root.rglob("*.png"))
    known = pd.DataFrame({"image_id": [first.name], "md5": [file_md5(first)]})
    pipeline.fill(known, first.parent, "of one image, for their shape")
    stored, written = pipeline.stored, 0
    some = only_of(params, md5s)
    specs = [(stored.spec, params.views.bank, list(md5s))]
    specs += [(stored.local[need], 1, sorted(some.get(need, md5s))) for need in needs]
    for spec, views, of in specs:
        store = FeatureStore(Path(stored.root), spec)
        width = store.get([known["md5"][0]], 1).shape[2]
        for start in range(0, len(of), 2048):
            part = of[start : start + 2048]
            digests = np.repeat(digests_of(part), views, axis=0)
            rows = _rows(len(part), views, width, seed=start + 1).astype(store.dtype)
            keys = Keys(digests, np.tile(np.arange(views, dtype=np.uint16), len(part)))
            written += write_segment(store.directory, keys, rows).size
    return written


def _rows(images: int, views: int, width: int, seed: int) -> np.ndarray:
    """Correlated values about 1, of a few factors and noise; some images lie further out."""
    rng = np.random.default_rng(seed)
    factors = np.random.default_rng(0).standard_normal((12, width), dtype=np.float32)
    own = rng.standard_normal((images, 12), dtype=np.float32) @ factors
    own *= np.where(rng.random((images, 1)) < ODD, 3.0, 1.0).astype(np.float32)
    noise = rng.standard_normal((images, width), dtype=np.float32)
    near = rng.standard_normal((images, views, 1), dtype=np.float32) * 0.1
    values = 1.0 + 0.1 * (own + noise)[:, None] * (1.0 + near)
    return values.reshape(images * views, width).astype(np.float32)


class _Memory(threading.Thread):
    """Peak anonymous memory of a process, in bytes: what is mapped from files is not counted."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self._status = Path(f"/proc/{pid}/status")

    def run(self) -> None:
        while True:
            try:
                lines = self._status.read_text().splitlines()
            except OSError:
                return
            for line in lines:
                if line.startswith("RssAnon:"):
                    self.peak = max(self.peak, int(line.split()[1]) * 1024)
            time.sleep(SAMPLE)


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))


def refine(folder: Path, settings: Sequence[str]) -> tuple[float, int]:
    """Seconds and peak anonymous memory of `irp refine images` in `folder`."""
    command = [sys.executable, "-m", "flows.cli", "refine", "images"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    started = time.perf_counter()
    with open(folder / "refine.log", "ab") as log:
        process = subprocess.Popen(
            [*command, *(part for setting in settings for part in ("-S", setting))],
            cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, preexec_fn=_limit,
        )  # fmt: skip
        memory = _Memory(process.pid)
        memory.start()
        code = process.wait()
    if code:
        raise SystemExit(f"irp refine ended with {code}:\n" + (folder / "refine.log").read_text()[-3000:])
    return time.perf_counter() - started, memory.peak


def measure(
    count: int, folder: Path, settings: Sequence[str] = (), of: Literal["seconds", "processor"] = "seconds"
) -> dict[str, float]:
    """Stage → seconds of a refinement of `count` images in `folder`, and what else is reported."""
    subprocess.run(["git", "init", "-q", "."], cwd=folder, check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], cwd=folder, check=True)
    started = time.perf_counter()
    md5s = write_images(folder / "images", count)
    before = Path.cwd()
    os.chdir(folder)
    try:
        stored = write_features(load_params(None, settings), Path("images"), md5s)
    finally:
        os.chdir(before)
    made = time.perf_counter() - started
    whole, peak = refine(folder, settings)
    (path,) = (folder / "runs").glob("images-*")
    stages = RunDirectory(path).timings(of=of)
    now = time.time()
    again, _ = refine(folder, settings)
    repeated = RunDirectory(path).timings(since=now, of=of)
    return {
        **stages,
        "second run: read images": repeated.get("read images", 0.0),
        "_whole": whole,
        "_second run": again,
        "_made up": made,
        "_peak_bytes": peak,
        "_stored_bytes_per_image": stored / count,
        "_disk_bytes_per_image": _on_disk(folder) / count,
    }


def _on_disk(folder: Path) -> int:
    """Bytes that all files below a folder take: images, features, DVC's cache, the run."""
    return sum(os.lstat(Path(at) / name).st_blocks * 512 for at, _, names in os.walk(folder) for name in names)


def exponents(small: int, large: int, one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    """Stage → p of seconds ∝ images^p between two sizes, of stages that take a second or more of the larger one."""
    stages = [stage for stage in other if not stage.startswith("_") and other[stage] >= SHOWN]
    return {
        stage: math.log(other[stage] / max(one.get(stage, 0.0), 0.01)) / math.log(large / small) for stage in stages
    }


def draw(table: pd.DataFrame, found: dict[str, float], output: Path) -> None:
    """Seconds by stage over the number of images, both logarithmic; the legend has the exponents."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.8, 4.2), layout="constrained")
    axes = figure.subplots()
    for number, (stage, exponent) in enumerate(sorted(found.items(), key=lambda item: -item[1])):
        # Ten colours; the eleventh stage has the first one's and another line.
        look = {"color": f"C{number}", "marker": "os"[number // 10 % 2], "linestyle": "-:"[number // 10 % 2]}
        axes.loglog(table.columns, table.loc[stage].clip(lower=0.01), label=f"{stage}: {exponent:.2f}", **look)
    axes.set(xlabel="images", ylabel="seconds")
    figure.legend(title="stage: exponent", fontsize=8, loc="outside right upper")
    figure.savefig(output)


def _said(size: int, result: dict[str, float]) -> str:
    return (
        f"{size:,} images: {result['_whole']:.0f} s, the second run {result['_second run']:.0f} s; "
        f"peak anonymous memory {result['_peak_bytes'] / 2**30:.2f} GiB; "
        f"{result['_stored_bytes_per_image'] / 1000:.1f} kB of features an image, "
        f"{result['_disk_bytes_per_image'] / 1000:.1f} kB on disk in all; {OPEN_FILES} open files; "
        f"made up in {result['_made up']:.0f} s"
    )


def main(
    sizes: Annotated[list[int], typer.Argument(help="Numbers of images.")],
    output: Annotated[Path, typer.Option(help="Folder of scale.csv and scale.svg.")] = Path("scale"),
    work: Annotated[Path | None, typer.Option(help="Where images and features are made up; deleted after.")] = None,
    setting: Annotated[list[str] | None, typer.Option("-S", help="A setting of the run.")] = None,
    processor: Annotated[bool, typer.Option("--processor", help="Seconds of processor time.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before a large size.")] = False,
) -> None:
    """Measure and print."""
    largest = max(sizes)
    console = Console()
    console.print(
        f"{largest:,} images: by estimate {(largest * BYTES + CELLS) / 1e9:.1f} GB of disk, "
        f"and {(largest * SECONDS + FIXED) / 60:.0f} minutes on one core."
    )
    if largest >= 1_000_000 and not yes:
        typer.confirm("Go on?", abort=True)
    results: dict[int, dict[str, float]] = {}
    output.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    for size in sorted(sizes):
        if work:
            work.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="irp-scale-", dir=work))
        try:
            results[size] = measure(size, folder, setting or [], "processor" if processor else "seconds")
            table = pd.DataFrame(results)
            table.to_csv(output / "scale.csv")  # before the next size, which may take an hour, and before tidying up
            console.print(_said(size, results[size]))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    console.print(f"all of it in {(time.perf_counter() - started) / 60:.1f} minutes")
    first, last = min(results), max(results)
    found = exponents(first, last, results[first], results[last]) if first != last else {}
    unit = "processor seconds" if processor else "seconds"
    shown = Table(
        "stage",
        *(f"{size:,}" for size in results),
        "exponent",
        title=f"{unit} by stage",
        title_justify="left",
    )
    for stage in table.index:
        if not stage.startswith("_"):
            seconds = [f"{table.loc[stage, size]:.1f}" for size in results]
            shown.add_row(stage, *seconds, f"{found[stage]:.2f}" if stage in found else "")
    console.print(shown)
    if found:
        draw(table, found, output / "scale.svg")
