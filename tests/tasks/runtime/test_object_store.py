"""The feature store at an S3 address: extracted here, wiped, and read back; nobody answers; two writers."""

from __future__ import annotations

import shutil
from pathlib import Path

import fsspec
import numpy as np
import pytest

from irp_core.config import Params, Runtime
from irp_core.data.manifest import training_rows
from irp_core.data.scan import scan
from irp_core.errors import InputError
from irp_core.features.pipeline import FeaturePipeline
from irp_core.refinement.scoring import local_needed
from tasks.runtime.object_store import FileSystemObjects, elsewhere


@pytest.fixture
def address(object_store: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_ENDPOINT_URL", object_store)
    system = fsspec.filesystem("s3", skip_instance_cache=True)
    if not system.exists("features"):
        system.mkdir("features")
    return "s3://features/plant"


def test_features_are_extracted_wiped_and_read_back(address: str, tiny: Params, plant: Path, tmp_path: Path) -> None:
    def params(store: str, cache: str = "cache") -> Params:
        runtime = Runtime(store_cache=str(tmp_path / cache))
        return tiny.model_copy(
            update={"features": tiny.features.model_copy(update={"store": store}), "runtime": runtime}
        )

    rows, needs = training_rows(scan(plant).manifest).head(6), local_needed(tiny)
    alone = FeaturePipeline(params(str(tmp_path / "alone")), None, needs)
    alone.fill(rows, plant, "train")
    there = params(address)
    assert FeaturePipeline(there, None, needs, elsewhere(there)).fill(rows, plant, "train").misses == 6
    shutil.rmtree(tmp_path / "cache")
    again = FeaturePipeline(there, None, needs, elsewhere(there))
    assert again.fill(rows, plant, "train").misses == 0
    ours, theirs = (pipeline.stored.read(rows, tiny.views.bank, needs) for pipeline in (again, alone))
    assert np.array_equal(ours.pooled, theirs.pooled)
    for name in needs:
        assert np.array_equal(getattr(ours, name), getattr(theirs, name))
    with pytest.raises(InputError, match=r"expected a folder here, found the address s3://features/plant"):
        FeaturePipeline(there, None, needs)


def test_the_first_of_two_writers_is_kept(address: str) -> None:
    objects = FileSystemObjects(address)
    objects.create("index/a", b"first")
    objects.create("index/a", b"second")  # S3 refuses it: If-None-Match
    assert objects.read("index/a") == b"first"
    assert objects.names("index") == {"a"}
    objects.remove("index/a")
    objects.remove("index/a")
    assert objects.names("index") == objects.names("nothing") == set()
    with pytest.raises(FileNotFoundError):
        objects.read("index/a")


def test_what_is_wrong_with_an_address_is_said(address: str) -> None:
    for nowhere in ("s3://nowhere/plant", "s3://nowhere"):
        with pytest.raises(FileNotFoundError, match="bucket does not exist"):
            FileSystemObjects(nowhere).create("index/a", b"content")
    with pytest.raises(InputError, match="expected an address that fsspec knows"):
        FileSystemObjects("gopher://plant").names("a")


def test_a_file_system_with_folders_is_no_less(tmp_path: Path) -> None:
    objects = FileSystemObjects(f"file://{tmp_path}/plant")
    objects.create("print/index/a", b"first")
    objects.create("print/index/a", b"second")
    assert objects.read("print/index/a") == b"first"
    assert objects.names("print/index") == {"a"}
