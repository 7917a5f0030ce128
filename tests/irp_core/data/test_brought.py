"""A corpus of what people bring: no hang, no traceback, no silence. Each file is trained on, quarantined or counted."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pandas as pd
import pytest

from irp_core.data.by_folder import COUNTS, counts_by_folder
from irp_core.data.scan import Scan, scan
from irp_core.errors import InputError
from irp_core.regular_file import shown
from irp_core.run.prepared import PreparedSet
from tests.irp_core.data.brought import Case
from tests.irp_core.data.brought_files import FILES_BROUGHT
from tests.irp_core.data.brought_layouts import LAYOUTS_BROUGHT
from tests.irp_core.data.brought_pixels import PIXELS_BROUGHT

CORPUS = (*LAYOUTS_BROUGHT, *FILES_BROUGHT, *PIXELS_BROUGHT)
SPENT: list[float] = []


def by_name(case: Case) -> str:
    return case.name


@pytest.mark.timeout(60)
@pytest.mark.parametrize("case", CORPUS, ids=by_name)
def test_what_people_bring(case: Case, tmp_path: Path) -> None:
    root = tmp_path / "brought"
    root.mkdir()
    case.make(root)
    started = time.process_time()
    if case.refused is not None:
        with pytest.raises(InputError) as refusal:
            scan(root, **case.settings)
        said = str(refusal.value)
        assert case.refused in said
        assert said.startswith(str(root))
        assert "\n" not in said
        SPENT.append(time.process_time() - started)
        return
    found = scan(root, **case.settings)
    SPENT.append(time.process_time() - started)
    assert found.layout == case.layout
    splits = found.manifest["split"].value_counts().to_dict()
    assert splits == {
        split: count
        for split, count in (("train", case.train), ("test", case.test), ("unassigned", case.free))
        if count
    }
    assert_reasons(dict(found.quarantine.itertuples(index=False)), case.quarantined)
    assert_reasons(dict(zip(found.ignored["path"], found.ignored["reason"], strict=True)), case.ignored)
    notes = [f"{row.image_id}: {row.note}" if row.image_id else row.note for row in found.notes.itertuples()]
    for part in case.notes:
        assert any(part in note for note in notes), notes
    if not case.notes:
        assert not notes
    masks = found.manifest.set_index("image_id")["mask_path"].dropna().to_dict()
    assert masks == case.masks
    assert_nothing_is_silent(root, found)
    assert_it_can_be_written(found, tmp_path / "prepared")


def assert_reasons(found: dict[str, str], expected: dict[str, str]) -> None:
    assert found.keys() == expected.keys()
    for path, part in expected.items():
        assert part in found[path], (path, found[path])


def assert_nothing_is_silent(root: Path, found: Scan) -> None:
    """Every file below the root is in one table, by itself or by a folder above it."""
    told = [*found.manifest["image_id"], *found.quarantine["image_id"], *found.ignored["path"]]
    assert len(told) == len(set(told))
    folders = [path for path in told if path.endswith("/")]
    for directory, names, files in os.walk(root):
        links = [name for name in names if (Path(directory) / name).is_symlink()]
        for name in [*files, *links]:
            path = shown((Path(directory) / name).relative_to(root).as_posix())
            above = [folder for folder in folders if f"{path}/".startswith(folder)]
            followed = name in links and any(image.startswith(f"{path}/") for image in told)
            assert (path in told) + len(above) == 1 or followed, path


def assert_it_can_be_written(found: Scan, output: Path) -> None:
    """Whatever the names are, the tables hold them, and the counts by folder add up."""
    prepared = PreparedSet(output)
    prepared.write_manifest(found.manifest)
    prepared.write_found(found)
    pd.testing.assert_frame_equal(prepared.quarantine(), found.quarantine, check_dtype=False)
    counts = counts_by_folder(prepared.manifest(), prepared.quarantine(), prepared.ignored())
    total = len(found.manifest) + len(found.quarantine) + int(found.ignored["files"].sum())
    assert counts[list(COUNTS)].to_numpy().sum() == total


def test_the_corpus_is_large_and_quick() -> None:
    assert len(CORPUS) >= 60
    assert len({case.name for case in CORPUS}) == len(CORPUS)
    assert sum(SPENT) < 30  # seconds of this process' CPU, for those that ran before
