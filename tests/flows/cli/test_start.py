"""A command starts as fast as what it needs can be imported: what it does not need stays out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

# One after the other in a fresh process, the lightest first: a command or modules, and what may have been imported
# of `HEAVY` when it has ended.
HEAVY = ("numpy", "pandas", "PIL", "scipy", "sklearn", "matplotlib", "mlflow", "dvc", "prefect", "torch")
TABLES = {"numpy", "pandas"}
WITH_MLFLOW = {*TABLES, "mlflow", "scipy"}  # it brings SciPy along
STEPS: dict[str, set[str]] = {
    "irp --version": set(),
    "irp runs": {"numpy"},  # by pyarrow
    "irp show last --removed": TABLES,
    "irp export last --to exported": TABLES,
    "import tasks.fetch.data_sets, tasks.fetch.sources": TABLES,
    "irp audit image train/good/0000.jpg": WITH_MLFLOW,
    "irp audit model last": WITH_MLFLOW,
    "irp whatif last --lambda 1.05 --figure figure.png": {*WITH_MLFLOW, "sklearn", "PIL", "matplotlib"},
    "import tasks.audit.verify": {*WITH_MLFLOW, "sklearn", "PIL", "matplotlib", "dvc"},
}
PROGRAM = """
import contextlib, json, os, sys
from flows.cli.main import app

steps, heavy = json.loads(sys.argv[1])
imported = {}
with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(sys.stdout):
    for step in steps:
        if step.startswith("import "):
            exec(step)
        else:
            app(step.split()[1:], standalone_mode=False)
        imported[step] = [name for name in heavy if name in sys.modules]
print(json.dumps(imported))
"""


def test_a_command_imports_what_it_needs(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").symlink_to(finished.parent)
    for name in ("mlflow.db", "mlartifacts"):
        (tmp_path / name).symlink_to(finished.parents[1] / name)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps([list(STEPS), HEAVY])],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    imported = {step: set(names) for step, names in json.loads(done.stdout).items()}
    assert {step: names - STEPS[step] for step, names in imported.items()} == {step: set() for step in STEPS}
