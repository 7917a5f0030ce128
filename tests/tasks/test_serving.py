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
from irp_core.errors import InputError
from irp_core.features.feature_set import FeatureSet
from irp_core.inspection import Inspector, save_inspector
from irp_core.serving import ANSWER, PATHS, ServedInspector
from tasks.serving import CARD, LIBRARIES, save_pyfunc

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
content = open(sys.argv[2], "rb").read()
import base64
answers = [model.predict(pd.DataFrame({"image": [image]})) for image in (content, base64.b64encode(content).decode())]
assert answers[0].equals(answers[1]), answers
answers[0].to_parquet(sys.argv[3])
try:
    model.predict(pd.DataFrame({"path": [sys.argv[2]]}))
except Exception as error:
    assert "never for a server" in str(error), error
else:
    raise AssertionError("a path was read")
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
    ours = Inspector(detector).score([image]).drop(columns="path")
    assert pd.read_parquet(answer).to_dict("records") == ours.to_dict("records")


def test_what_cannot_be_used_is_an_answer_or_a_sentence(
    detector: Path, plant: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = next((plant / "test" / "good").iterdir())
    served = ServedInspector(detector)
    mixed: list[object] = [b"", image.read_bytes(), "no base64 é", 7, None, np.zeros((2, 2)), image.read_bytes()[:99]]
    answer = served.predict(pd.DataFrame({"image": mixed}))
    assert tuple(answer.columns) == ANSWER
    assert answer["error"].isna().tolist() == [False, True, False, False, False, False, False]
    for refused, said in (
        (pd.DataFrame({"picture": mixed}), "expected a column 'image'"),
        ([b""] * 65, "at most 64"),
        (7, "found int"),
        (pd.DataFrame({"path": ["/etc/passwd"]}), "IRP_ALLOW_PATHS"),
    ):
        with pytest.raises(InputError, match=said):
            served.predict(refused)
    monkeypatch.setenv(PATHS, "1")
    assert served.predict(pd.DataFrame({"path": [str(image)]}))["score"].tolist() == [answer["score"][1]]


def test_an_array_is_an_image(detector: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 50, 40, 3), dtype=np.uint8)
    served = ServedInspector(detector)
    both = served.predict(pixels)["score"].tolist()
    assert [served.predict(one)["score"][0] for one in pixels] == both
    assert served.predict(pd.DataFrame({"image": list(pixels)}))["score"].tolist() == both


def test_the_model_says_what_it_is(saved: Path) -> None:
    from mlflow.models import Model

    signature = Model.load(str(saved)).signature
    assert signature is not None
    assert signature.outputs.input_names() == list(ANSWER)
    assert [param.name for param in signature.params] == ["map"]
    assert "| detector | `differnet` |" in (saved / CARD).read_text()
    assert (saved / "input_example.json").is_file()


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
    assert "code/irp_core/inspection/inspector.py" in noted
    assert not any("__pycache__" in name for name in noted)
