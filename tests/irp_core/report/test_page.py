"""A run's report in Python: complete without a tracker, readable on a telephone, no truth by colour alone."""

from __future__ import annotations

import re
import shutil
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from irp_core import refine
from irp_core.api import Result
from irp_core.errors import InputError
from irp_core.plots import iteration_curves
from irp_core.report.lineage import of_folder
from irp_core.report.page import _commands, render
from irp_core.report.thumbnails import original
from irp_core.run.directory import RunDirectory
from tests.conftest import TINY
from tests.sections import sections_of


@pytest.fixture(scope="module")
def result(plant: Path) -> Result:
    return refine(plant, **sections_of([*TINY, "contamination.fraction=0.4"]))


@pytest.fixture(scope="module")
def page(result: Result, tmp_path_factory: pytest.TempPathFactory) -> str:
    place = result.report(tmp_path_factory.mktemp("report") / "new" / "report.html")
    return place.read_text(encoding="utf-8")


def test_the_page_stands_alone_and_has_every_removed_image(page: str, result: Result) -> None:
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)
    (script,) = re.findall(r"<script[^>]*>(.*?)</script>", page, flags=re.S)
    assert "fetch" not in script and "http" not in script  # it hears the key that shows the maps
    assert len(result.removed)
    for name in result.removed["image_id"]:
        assert f'alt="{name}"' in page


def test_each_image_has_its_map_and_the_page_stays_small(page: str, result: Result) -> None:
    figures = re.findall(r"<figure.*?</figure>", page, flags=re.S)
    assert len(figures) >= len(result.removed)
    for figure in figures:
        photo, overlay = re.findall(r'src="data:image/jpeg;base64,([^"]*)"', figure)
        assert photo != overlay and 'class="map"' in figure
    assert page.count('id="maps"') == 1
    assert max(len(figure) for figure in figures) < 20_000


def test_a_run_without_maps_has_a_page_without_them(result: Result, tmp_path: Path) -> None:
    run = RunDirectory(shutil.copytree(result.run.path, tmp_path / "run"))
    shutil.rmtree(run.step("localise"))
    page = render(run, tmp_path / "page.html", of_folder(run), find=partial(original, run)).read_text(encoding="utf-8")
    assert "<script" not in page and 'class="map"' not in page and 'alt="' in page


def test_no_sentence_is_said_twice(page: str) -> None:
    text = re.sub(r"<style.*?</style>|<svg.*?</svg>|<figure.*?</figure>|<td.*?</td>", "", page, flags=re.S)
    said = [" ".join(part.split()) for part in re.findall(r"<(?:p|li)[^>]*>(.*?)</(?:p|li)>", text, flags=re.S)]
    assert len(said) == len(set(said)) > 2
    for threshold in ("Removal threshold", "Operating threshold"):
        assert page.count(threshold) == 1


def test_right_and_wrong_are_told_in_words_and_never_in_green_and_red(page: str, result: Result) -> None:
    removed = result.history.query("decision == 'removed'")
    assert page.count("✓ rightly removed") == int(removed["injected"].sum()) > 0
    assert page.count("✗ wrongly removed") == int((~removed["injected"].astype(bool)).sum())
    assert page.count("Known truth") == 1
    style = page[page.index("<style") : page.index("</style>")]
    assert "dashed" in style
    assert "#009e73" not in style  # the green that once meant "wrongly removed"


def test_a_command_in_a_sentence_is_set_as_code_and_a_name_is_escaped() -> None:
    assert _commands("`irp review <x>` decides.") == "<code>irp review &lt;x&gt;</code> decides."


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_ticks_that_count_are_whole_numbers(count: int) -> None:
    table = pd.DataFrame({"iteration": range(count), "n_train": [3] * count, "auroc": [None] * count})
    (axes,) = iteration_curves(table).axes
    for axis in (axes.get_xticks(), axes.get_yticks()):
        assert all(float(tick).is_integer() for tick in axis)


def test_letters_in_the_figures_are_ten_pixels_high_on_a_telephone() -> None:
    """A figure is as wide as the page: 340 of 400 pixels are left beside the margins."""
    table = pd.DataFrame({"iteration": [0, 1], "n_train": [30, 25], "auroc": [0.8, 0.9]})
    points = iteration_curves(table).get_size_inches()[0] * 72
    assert 9 * 340 / points >= 10


def test_a_report_has_the_suffix_of_a_page(result: Result, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a name that ends in \.html"):
        result.report(tmp_path / "report.pdf")
