"""An auditor's questions over two runs of 10,000 images and 20 models with made-up scores."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from prefect.logging import disable_run_logger

from irp_core.config import Params
from irp_core.data.manifest import MANIFEST_SCHEMA, training_rows
from irp_core.detectors import DifferNet, EpochReport
from irp_core.features.feature_set import FeatureSet
from irp_core.params_file import load_params
from irp_core.run.directory import RunDirectory
from irp_core.run.inputs import RunInputs
from irp_core.run.prepared import PreparedSet
from irp_core.run.step_files import write_scored, write_trained
from tasks.audit.questions import compare_sets, describe_model, history_of_image
from tasks.audit.verify import verify
from tasks.reports.results import write_results
from tasks.steps.prepare import create_run
from tasks.steps.refine import decide_removal
from tasks.tracking.writer import finish_parent, start_parent, track_iteration

__all__ = ["BENCHMARKS"]

IMAGES, MODELS, TIMES = 10_000, 20, 3


def audit() -> list[tuple[str, str]]:
    """Seconds per query: inside a process that has MLflow imported, and as a command from a shell."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        params = load_params(
            None,
            [
                *("snapshots.enabled=false", "features.scales=[64,32]", "differnet.hidden=8", "differnet.blocks=1"),
                *(f"refinement.max_iterations={MODELS - 1}", "refinement.method=irp", "refinement.removal=max_one"),
            ],
        )
        first, second = (_made_up_run(params, seed).run_id for seed in (0, 1))
        image = str(RunDirectory(Path("runs") / first).removals()["md5"].iloc[-1])
        queries: dict[str, tuple[Callable[[], object], list[str]]] = {
            "model": (lambda: describe_model(first, params), ["model", first]),
            "image": (lambda: history_of_image(image, params), ["image", image]),
            "diff": (lambda: compare_sets(first, second, params), ["diff", first, second]),
            "verify, tables only": (lambda: verify(first, params), ["verify", first]),
        }
        rows = []
        for name, (query, arguments) in queries.items():
            inside = _seconds(query)
            shell = _seconds(lambda: irp(["audit", *arguments], code=before))  # noqa: B023
            rows.append((f"audit {name}", f"{inside:.2f} s; as a command {shell:.2f} s"))
        start = _seconds(lambda: subprocess.run([sys.executable, "-c", "import mlflow.tracking"], check=True))
        return [*rows, ("of which python -c 'import mlflow.tracking'", f"{start:.2f} s")]


def irp(arguments: list[str], code: Path) -> None:
    """Run a command in a process of its own, with the code in `code`."""
    environment = {**os.environ, "PYTHONPATH": str(code)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # a user's commands are compiled once, not each time
    subprocess.run([sys.executable, "-m", "flows.cli", *arguments], capture_output=True, env=environment, check=True)


def _seconds(action: Callable[[], object]) -> float:
    times = []
    for _ in range(TIMES):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return float(np.median(times))


def _made_up_run(params: Params, seed: int) -> RunDirectory:
    """A run as the refinement leaves it, through the tasks themselves; only the scores are drawn, not computed."""
    rng = np.random.default_rng(seed)
    names = [f"line{i % 7}/{i:05d}.png" for i in range(IMAGES)]
    manifest = pd.DataFrame(
        {
            "image_id": names,
            "md5": [f"{i:032x}" for i in range(IMAGES)],
            "split": np.where(rng.random(IMAGES) < 0.98, "train", "test"),
            "label": "good",
            "defect_type": None,
            "mask_path": None,
            "injected": False,
        }
    )
    prepared = Path(f"prepared-{seed}")
    PreparedSet(prepared).write_manifest(manifest[MANIFEST_SCHEMA.names])
    run = create_run(Path("data"), params, prepared, RunInputs())
    path = str(run.path)
    run.write_features({"fingerprint": "made-up"})
    detector = DifferNet(4, params.differnet, params.training, torch.device("cpu"))
    detector.fit(FeatureSet(rng.normal(size=(4, 1, 4)).astype(np.float32)), epochs=1, seed=0)
    base = dict(zip(names, rng.gamma(50, 0.02, IMAGES), strict=True))
    nested: dict[int, str] = {}

    def train(folder: Path) -> None:
        detector.save(folder)
        write_trained(folder, [EpochReport(1, 1, 1.0, 1e-3, 1.0)])

    with disable_run_logger():
        parent = start_parent.fn(path)
        for iteration in range(MODELS + 1):
            if iteration > 0:
                rows = run.training_set(iteration - 1)
                drawn = rows["image_id"].map(base) * rng.normal(1, 0.02, len(rows))
                table = rows.assign(iteration=iteration - 1, score=drawn)
                run.do("score", iteration - 1, f"{iteration}", lambda folder: write_scored(folder, table))  # noqa: B023
                nested[iteration - 1] = track_iteration.fn(path, parent, iteration - 1, "made-up")
                decide_removal.fn(path, iteration)
            if iteration < MODELS:
                run.do("train", iteration, f"{iteration}", train)
        write_results.fn(path, MODELS - 1, None)
        finish_parent.fn(path, parent, nested)
    assert len(training_rows(manifest)) > IMAGES * 0.9
    return run


BENCHMARKS = {"audit": audit}
