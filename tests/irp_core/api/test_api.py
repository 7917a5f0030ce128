"""Three lines of Python on a plain folder: tables, detector, scores; nothing is left behind, nothing heavy imported."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from irp_core import load, refine
from irp_core.api import Model, Result
from irp_core.data.walk import walk
from irp_core.errors import InputError
from irp_core.features.store import FeatureStore
from irp_core.packed.packing import pack
from irp_core.refinement import scoring
from irp_core.run.step_files import read_cells
from tests.conftest import TINY
from tests.sections import sections_of

CAREFUL = sections_of([*TINY, "contamination.fraction=0", "refinement.method=careful", "refinement.repeats=1"])


@pytest.fixture(scope="module")
def folder(plant: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good and defective images in one folder, and a file that is none."""
    folder = tmp_path_factory.mktemp("plain") / "line 3"
    folder.mkdir()
    good = sorted((plant / "train/good").glob("*.jpg"))[:20]
    bad = sorted(file for file in (plant / "test").rglob("*.jpg") if file.parent.name != "good")[:4]
    for number, file in enumerate([*good, *bad]):
        shutil.copy(file, folder / f"{number:02d}.jpg")
    (folder / "broken.png").write_bytes(b"PNG?")
    return folder


@pytest.fixture(scope="module")
def result(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))
        result = refine(folder, **CAREFUL)
        assert list(Path.cwd().iterdir()) == []  # no store, no database, no repository
    return result


def test_images_in_shards_give_the_bytes_of_the_folder(folder: Path, result: Result, tmp_path: Path) -> None:
    tree = walk(folder)
    packed = tmp_path / folder.name
    pack(folder, tree.images, packed, left_out=tree.left_out, shard_bytes=10_000, max_bytes=10**6)
    assert len(list(packed.glob("shard-*.tar"))) > 1
    again = refine(packed, **CAREFUL)
    for table in ("images.parquet", "removals.parquet", "scores.parquet", "iterations.parquet", "quarantine.parquet"):
        assert (again.run.path / table).read_bytes() == (result.run.path / table).read_bytes(), table
    scores, others = (found.score(root)["score"] for found, root in ((result, folder), (again, packed)))
    assert scores.equals(others) and scores.notna().sum() == 24


def test_of_a_large_set_some_images_say_where(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "MAPPED", 9)
    settings = {
        **CAREFUL,
        "features": {**CAREFUL["features"], "store": str(tmp_path)},
        "detector": {"name": "gaussian"},
    }
    found = refine(folder, **settings)
    drawn = sorted(found.images["md5"])[:9]
    assert found.summary["maps"]["scale"]["images"] == len(set(drawn) & set(found.kept["md5"]))
    stores = [FeatureStore(tmp_path, json.loads(file.read_text())) for file in tmp_path.glob("*/spec.json")]
    held = [sorted(md5 for md5 in found.images["md5"] if not list(store.missing([md5], 1))) for store in stores]
    assert sorted(map(len, held)) == [9, 24, 24, 24]
    assert drawn in held


def test_importing_the_package_is_light() -> None:
    program = "import irp_core, sys; print([m for m in ('torch', 'pandas', 'numpy', 'prefect') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_image_is_kept_removed_or_quarantined(result: Result, folder: Path) -> None:
    names = {*result.kept["image_id"], *result.removed["image_id"], *result.quarantine["image_id"]}
    assert names == {file.name for file in folder.iterdir()}
    assert len(result.kept) + len(result.removed) == len(result.images) == 24
    assert all(Path(path).is_file() for path in result.kept["path"])
    assert set(result.scores["image_id"]) == set(result.images["image_id"])
    assert set(result.undecided["image_id"]) <= set(result.kept["image_id"])
    assert str(result).splitlines()[0] in ("Clean.", "Cleaned.", "Undecided.")


def test_what_was_trained_scores_new_images(result: Result, folder: Path) -> None:
    one = result.score(folder / "00.jpg")
    several = result.score([folder / "01.jpg", str(folder / "00.jpg")])
    everything = result.score(folder)
    assert several["score"].iloc[1] == one["score"].iloc[0]
    assert set(everything["decision"].dropna()) <= {"normal", "anomalous"}
    assert everything.loc[everything["path"].str.endswith("broken.png"), "error"].notna().all()
    assert (everything["threshold"] == result.threshold).all()
    assert np.isfinite(result.threshold)


def test_a_saved_result_is_opened_again(result: Result, folder: Path, tmp_path: Path) -> None:
    saved = result.save(tmp_path / "mine")
    again = load(saved)
    assert isinstance(again, Result)
    pd.testing.assert_frame_equal(again.images, result.images)
    alone = load(saved / "model")
    assert isinstance(alone, Model) and not isinstance(alone, Result)
    for opened in (again, alone):
        pd.testing.assert_frame_equal(opened.score(folder / "00.jpg"), result.score(folder / "00.jpg"))
    assert f"irp review {saved} --ask" in str(again)
    with pytest.raises(InputError, match="expected a folder that does not exist"):
        result.save(saved)
    with pytest.raises(InputError, match="found neither"):
        load(folder)


def test_the_kept_images_come_out_as_a_folder(result: Result, tmp_path: Path) -> None:
    done = result.export(tmp_path / "out", how="link")
    assert {file.name for file in (tmp_path / "out/images").iterdir()} == set(result.kept["image_id"])
    assert done.kept == len(result.kept)


def test_what_a_person_said_counts(result: Result, folder: Path) -> None:
    first, second = result.kept["md5"].iloc[0], result.scores.sort_values("score")["md5"].iloc[-1]
    said = pd.DataFrame({"md5": [first, second], "decision": ["removed_by_review", "kept_by_review"]})
    again = refine(folder, decisions=said.assign(reviewer="Ada"), **CAREFUL)
    states = again.images.set_index("md5")
    assert states.loc[first, ["state", "decided_by"]].tolist() == ["removed", "Ada"]
    assert states.loc[second, "state"] == "kept"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"refinment": {}}, "refine: unknown key 'refinment'; did you mean 'refinement'?"),
        ({"images": {"size": 3}}, "refine: images.size must be"),
        ({"features": {"backbone": "resnet18"}}, "features.weights must name a file on this machine"),
    ],
)
def test_a_mistake_is_one_sentence(settings: dict, message: str, folder: Path) -> None:
    with pytest.raises(InputError) as caught:
        refine(folder, **settings)
    assert str(caught.value).startswith(message)


def test_differnet_shows_its_gradient(folder: Path, tmp_path: Path) -> None:
    settings = {
        **CAREFUL,
        "features": {**CAREFUL["features"], "store": str(tmp_path / "features")},
        "refinement": {"method": "vanilla"},
        "detector": {"name": "differnet"},
        "localisation": {"detector": "differnet"},
    }
    found = refine(folder, **settings)
    assert found.summary["maps"]["detector"] == "differnet"
    kept = read_cells(found.run.step("localise"))
    assert set(kept) == set(found.images["md5"])  # of every image, by a flow that did not train on it
    model = load(found.save(tmp_path / "saved"))
    image = folder / "03.jpg"
    (view,) = model.inspector.locate([model.inspector.see(image.read_bytes())])
    scored = found.score([image], maps=tmp_path / "maps")
    assert scored["decision"].notna().all() and (tmp_path / "maps" / "03.jpg.overlay.png").is_file()
    written = pd.read_csv(tmp_path / "maps" / "maps.csv")
    assert written["score"].tolist() == pytest.approx([float(view.max())])
    assert 0 < view.min() < view.max()
