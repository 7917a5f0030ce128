"""What a round of a line costs beside its training: 2,000 known images and 200 new ones, by stage."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from irp_core.config.lines import Inbox, Line, PromotionPolicy
from irp_core.demo.line import Batch, deliver, write_line_plant
from irp_core.line.definition import write_line
from irp_core.run.directory import RunDirectory

__all__ = ["BENCHMARKS"]

KNOWN, NEW, SIZE = 2000, 200, 64
GOLDEN = Batch(60, 40)
FEATURES = {"scales": [SIZE, SIZE // 2], "kurtosis_scale": 128}
_TRAINING = ("extract", "train", "score", "operating threshold")  # of the run: what the images themselves cost


def line_round() -> list[tuple[str, str]]:
    """The second round of a line, with the features of the known images in the store; seconds by stage."""
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    from tasks.runtime.prefect_server import prefect_server

    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name), prefect_server(Path("server.log")) as wait:
        folder = Path(name)
        subprocess.run(["git", "init", "-q", "."], check=True)
        subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], check=True)
        write_line_plant(folder / "made", [Batch(KNOWN, 0), Batch(NEW, 0)], golden=GOLDEN, size=SIZE)
        write_line(_line(folder), Path())
        wait()
        from flows.line.retrain import retrain

        deliver(folder / "made", 1, folder / "inbox")
        retrain("line3")
        deliver(folder / "made", 2, folder / "inbox")
        started = time.perf_counter()
        record: dict[str, Any] = retrain("line3")
        whole = time.perf_counter() - started
        run = RunDirectory(Path(record["run"])).timings()
        started = time.perf_counter()
        retrain("line3")
        nothing = time.perf_counter() - started
    training = sum(run.get(stage, 0.0) for stage in _TRAINING)
    stages = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in record["seconds"].items())
    of_run = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in run.items())
    what = f"line round, {KNOWN:,} known and {NEW} new images of {SIZE} px"
    return [
        (f"{what}: whole", f"{whole:.1f} s"),
        (f"{what}: without extraction, training and scoring", f"{whole - training:.1f} s"),
        (f"{what}: by stage", f"{stages} s"),
        (f"{what}: stages of its run", f"{of_run} s"),
        ("line round with nothing new", f"{nothing:.1f} s"),
    ]


def _line(folder: Path) -> Line:
    return Line(
        name="line3",
        inbox=str(folder / "inbox"),
        golden=str(folder / "made" / "golden"),
        min_new=min(KNOWN, NEW),
        taking=Inbox(settle=0.1),
        promotion=PromotionPolicy(mode="always"),
        params={
            "images": {"size": SIZE},
            "features": FEATURES,
            "tracking": {"uri": f"sqlite:///{folder}/mlflow.db"},
        },
    )


BENCHMARKS = {"line_round": line_round}
