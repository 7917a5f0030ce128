"""Small real images from disk to the table, by one Dask worker and by two, and by two of which one is killed.

python -m benchmarks.scale.workers                    20,000 images of 64 to 128 pixels
python -m benchmarks.scale.workers 400 --shard 50     a try

Images are those of the made inspection line (`irp demo`). Every run has a folder of its own, nothing is stored before,
and each process uses one thread. Printed: images per second by stage, the ratio of two workers to one (1.7 or more is
expected of two free cores; on a machine that is shared it says nothing), and whether the tables of all runs have the
same bytes.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

import tasks.runtime.environment  # noqa: F401
from irp_core.demo.plant import write_demo_plant
from irp_core.run.directory import RunDirectory
from irp_core.run.files import RECORD

__all__ = ["main"]

SIDES = (64, 96, 128)  # pixels: a third of the images each
WHOLE = "whole"
_POLL = 0.2  # seconds


def write_images(root: Path, count: int) -> None:
    """`count` good images below `root`, without labels."""
    share = [count // len(SIDES) + (number < count % len(SIDES)) for number in range(len(SIDES))]
    for number, (side, images) in enumerate(zip(SIDES, share, strict=True)):
        plant = write_demo_plant(
            root.parent / f"plant-{side}", size=side, train_good=images, test_good=1, defective=1, seed=number
        )
        (plant / "train" / "good").rename(root / f"camera-{side}")


def refine(images: Path, folder: Path, workers: int, settings: list[str], *, kill: bool = False) -> dict[str, float]:
    """Stage → seconds of `irp refine` in `folder` on so many workers; with `kill` one of them dies at its work."""
    from dask.distributed import LocalCluster

    folder.mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    with LocalCluster(
        n_workers=workers, threads_per_worker=1, memory_limit=0, dashboard_address="127.0.0.1:0"
    ) as cluster:
        options = [f"runtime.cluster={cluster.scheduler_address}", "snapshots.enabled=false", *settings]
        command = [sys.executable, "-m", "flows.cli", "refine", str(images)]
        command += [part for option in options for part in ("-S", option)]
        pids = [worker.pid for worker in cluster.workers.values()]
        started = time.perf_counter()
        with open(folder / "refine.log", "wb") as log:
            process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
            if kill:
                threading.Thread(target=_kill, args=(folder, pids[0]), daemon=True).start()
            code = process.wait()
        seconds = time.perf_counter() - started
    if code:
        raise SystemExit(f"irp refine ended with {code}:\n" + (folder / "refine.log").read_text()[-3000:])
    return {**RunDirectory(_run(folder)).timings(), WHOLE: seconds}


def _kill(folder: Path, pid: int) -> None:
    """`kill -9`, as soon as the workers have stored something."""
    while not any(file.stat().st_size for file in (folder / ".irp").rglob("*") if file.suffix != ".json"):
        time.sleep(_POLL)
    os.kill(pid, signal.SIGKILL)


def _run(folder: Path) -> Path:
    (path,) = (run for run in (folder / "runs").iterdir() if (run / RECORD).is_file())
    return path


def tables(folder: Path) -> dict[str, str]:
    """Table → digest, of a finished run, and its final weights."""
    run = _run(folder)
    files = [*run.glob("*.parquet"), *run.glob("model/*.safetensors")]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def main(
    count: Annotated[int, typer.Argument(help="Number of images.")] = 20_000,
    shard: Annotated[int, typer.Option(help="Images of a task.")] = 2_000,
    setting: Annotated[list[str] | None, typer.Option("-S", help="A setting of the run.")] = None,
    work: Annotated[Path | None, typer.Option(help="Where images and features are made; deleted after.")] = None,
) -> None:
    """Measure and print."""
    settings = [f"runtime.shard={shard}", *(setting or [])]
    console = Console()
    with tempfile.TemporaryDirectory(prefix="irp-workers-", dir=work) as temporary:
        root = Path(temporary)
        (root / "images").mkdir()
        write_images(root / "images", count)
        found = {}
        for name, workers, kill in (("one", 1, False), ("two", 2, False), ("killed", 2, True)):
            found[name] = refine(root / "images", root / name, workers, settings, kill=kill)
        same = {name: tables(root / name) == tables(root / "one") for name in found}
    shown = Table("stage", "one worker", "two", "ratio", title=f"images per second, {count:,} images")
    for stage, seconds in found["one"].items():
        both = found["two"].get(stage, 0.0)
        if seconds and both:
            shown.add_row(stage, f"{count / seconds:.1f}", f"{count / both:.1f}", f"{seconds / both:.2f}")
    console.print(shown)
    said = {True: "the same bytes", False: "OTHER BYTES"}
    console.print(f"two workers against one: {said[same['two']]}")
    console.print(f"two workers, one of them killed: {said[same['killed']]}, {found['killed'][WHOLE]:.0f} s")
    if not all(same.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    typer.run(main)
