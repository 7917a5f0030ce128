"""A saved model is complete: it loads where the libraries are installed and this project is not."""

from __future__ import annotations

import ast
import hashlib
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import irp_core
from irp_core.backbones import load_backbone
from irp_core.config import Params
from irp_core.detectors import DifferNet
from irp_core.features.feature_set import FeatureSet
from irp_core.inspection import Inspector, save_inspector
from tasks.serving import LIBRARIES, save_pyfunc

# As `mlflow.pyfunc.load_model` does it, in a process that finds the libraries but nothing of this project.
LOAD = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name in ("tasks", "flows") or (name == "irp_core" and not any(p.endswith("/code") for p in sys.path)):
            raise ModuleNotFoundError(f"hidden: {name}")
sys.meta_path.insert(0, Hidden())
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
from mlflow.pyfunc import load_model
import pandas as pd
model = load_model(sys.argv[1])
import irp_core
assert irp_core.__file__.startswith(sys.argv[1]), irp_core.__file__
model.predict(pd.DataFrame({"path": [sys.argv[2]]})).to_parquet(sys.argv[3])
"""


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory, tiny: Params) -> Path:
    """A refined detector, trained on noise."""
    folder = tmp_path_factory.mktemp("detector")
    views = FeatureSet(np.random.default_rng(0).normal(size=(8, 2, 512)).astype(np.float32))
    backbone = load_backbone("bundled", None)
    detector = DifferNet(512, tiny.differnet, tiny.training, torch.device("cpu"))
    detector.fit(views, epochs=1, seed=0)
    detector.save(folder)
    (folder / "model").mkdir()
    save_inspector(folder / "model", folder, backbone, tiny, {"threshold": 1.0})
    return folder / "model"


@pytest.fixture(scope="module")
def saved(detector: Path) -> Path:
    """The detector as an MLflow model."""
    save_pyfunc(detector, detector.parent / "saved")
    return detector.parent / "saved"


def test_a_model_loads_without_this_project(detector: Path, saved: Path, plant: Path, tmp_path: Path) -> None:
    answer = tmp_path / "answer.parquet"
    image = next((plant / "test" / "good").iterdir())
    command = [sys.executable, "-P", "-B", "-c", LOAD, str(saved), str(image), str(answer)]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pd.testing.assert_frame_equal(pd.read_parquet(answer), Inspector(detector).score([image]))


def test_the_requirements_are_what_the_code_imports(saved: Path) -> None:
    asked = [line.split("==")[0] for line in (saved / "requirements.txt").read_text().split()]
    assert sorted(asked) == sorted(["mlflow", *LIBRARIES])
    distributions = packages_distributions()
    needed = {distributions[module][0] for module in imported(Path(irp_core.__file__).parent)}
    assert {name.lower() for name in LIBRARIES} == {name.lower() for name in needed}


def imported(package: Path) -> set[str]:
    """Third-party modules that a package imports, by their first name."""
    found = set()
    for file in package.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(str(node.module).split(".")[0])
    return found - set(sys.stdlib_module_names) - {"irp_core"}


def test_the_code_is_noted_by_its_hashes(saved: Path) -> None:
    noted = dict(line.split("  ")[::-1] for line in (saved / "code.sha256").read_text().splitlines())
    files = [path for path in (saved / "code").rglob("*") if path.is_file()]
    found = {f.relative_to(saved).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}
    assert noted == found
    assert "code/irp_core/inspection.py" in noted
    assert not any("__pycache__" in name for name in noted)
