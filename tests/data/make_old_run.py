"""Make `tests/data/old_run.tar.xz`: runs of the code as it was before the removal table and the run's folder changed.

Run once, with the code of commit 2bd4481 on PYTHONPATH, in a folder whose path `test_old_runs.py` replaces:

    PYTHONPATH=. python tests/data/make_old_run.py /tmp/irp-old-run old_run.tar.xz

The workspace has a tiny plant, git and DVC, an MLflow store, and three runs: `irp`, finished and registered; `robust`,
finished and reviewed; and one that was interrupted when its second removal was due.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from contextlib import suppress
from pathlib import Path

SETTINGS = [
    "images.size=32",
    "views.train=1",
    "views.score=1",
    "features.scales=[32]",
    "features.kurtosis_scale=128",
    "features.patch_grid=2",
    "features.patch_channels=8",
    "features.precision=float32",
    "differnet.blocks=1",
    "differnet.hidden=4",
    "training.epochs=2",
    "training.retrain_epochs=1",
    "refinement.folds=2",
    "refinement.repeats=1",
    "refinement.lambda=1.05",
    "refinement.max_iterations=2",
    "refinement.fdr=0.5",
    "operating.folds=2",
    "contamination.fraction=0.3",
    "tracking.uri=sqlite:///mlflow.db",
    "tracking.keep_weights=last",
]


def main(folder: Path, archive: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    archive = archive.resolve()
    os.chdir(folder)
    for command in (
        ["git", "init", "-q", "."],
        ["git", "config", "user.name", "tester"],
        ["git", "config", "user.email", "tester@example.org"],
        [sys.executable, "-m", "dvc", "init", "-q"],
    ):
        subprocess.run(command, check=True)
    os.environ["PREFECT_HOME"] = str(folder.parent / f"{folder.name}-prefect")
    from irp_core.demo.plant import write_demo_plant
    from tasks.runtime.prefect_server import prefect_server

    write_demo_plant(Path("plant"), size=64, train_good=14, test_good=4, defective=12, seed=1)
    subprocess.run(["git", "add", "-A"], check=True)
    subprocess.run(["git", "commit", "-qm", "Begin"], check=True)
    with prefect_server(Path(os.environ["PREFECT_HOME"]) / "server.log") as wait:
        wait()
        _runs()
    shutil.rmtree(".irp", ignore_errors=True)  # the feature store: it is filled again from the images
    with tarfile.open(archive, "w:xz", preset=9) as tar:
        tar.add(".", arcname=".", filter=_kept)


def _runs() -> None:
    import flows.refine as module
    from irp_core.params_file import load_params
    from irp_core.run.directory import RunDirectory
    from tasks.review.session import Review
    from tasks.tracking.writer import log_review

    def refine(*overrides: str) -> Path:
        params = load_params(None, [*SETTINGS, *overrides]).model_dump(mode="json")
        return Path(module.refine("plant", params))

    refine("refinement.method=irp", "tracking.registered_model=old")
    run = RunDirectory(refine("refinement.method=robust", "refinement.confidence=0.05"))
    review = Review(run)
    items = review.items["md5"].astype(str).tolist()
    review.decide(items[0], True, "Ada", "as it should be")
    review.decide(items[-1], False, "Ada")
    log_review(review)
    Path("decisions.csv").unlink()  # else the next run respects it
    decide = module.decide_removal

    def interrupted(path: str, iteration: int, policy: object) -> object:
        if iteration == 2:
            raise KeyboardInterrupt
        return decide(path, iteration, policy)

    module.decide_removal = interrupted
    with suppress(KeyboardInterrupt):
        refine("refinement.method=irp", "run.seed=1")


def _kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    left_out = (".git/hooks", ".git/logs", ".dvc/tmp")
    entry.uname = entry.gname = ""
    entry.uid = entry.gid = 0
    return None if any(part in entry.name for part in left_out) else entry


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
