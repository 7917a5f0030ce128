"""The documentation: every page is reached from the first, the site builds without a dead link, the notebook runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from typer.main import get_command

from flows.cli.main import app

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def links_of(page: Path) -> set[Path]:
    found = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    return {(page.parent / link).resolve() for link in found if "://" not in link}


def test_the_first_page_leads_to_every_page_directly() -> None:
    linked = links_of(DOCS / "index.md")
    pages = {page for page in DOCS.rglob("*.md") if page.name != "index.md"}
    pages -= {page for page in pages if {"decisions", "results"} & set(page.relative_to(DOCS).parts[:-1])}  # by folder
    assert {page.relative_to(DOCS).as_posix() for page in pages if page not in linked} == set()
    assert (DOCS / "decisions").resolve() in linked


def test_every_decision_has_a_number_of_its_own_in_its_name_and_its_title() -> None:
    records = sorted((DOCS / "decisions").glob("[0-9]*.md"))
    numbers = [int(record.name[:4]) for record in records]
    assert len(set(numbers)) == len(numbers)
    for number, record in zip(numbers, records, strict=True):
        assert record.read_text(encoding="utf-8").startswith(f"# {number}. "), record.name


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(DOCS.glob("*.md"))], ids=lambda page: page.name)
def test_no_link_is_dead_in_the_repository(page: Path) -> None:
    assert {str(link) for link in links_of(page) if not link.exists()} == set()


def test_the_site_builds_strictly_with_api_decisions_and_notebook(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    site = tmp_path / "site"
    api = (site / "api.html").read_text(encoding="utf-8")
    assert "Refine a folder of images" in api
    assert "Keep the result as a run" in api
    decisions = (site / "decisions" / "index.html").read_text(encoding="utf-8")
    for record in (DOCS / "decisions").glob("[0-9]*.md"):
        assert record.stem in decisions
    assert "images, loss" in (site / "notebook.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["python.ipynb", "maps.ipynb"])
def test_the_notebook_runs_and_says_what_it_shows(name: str, tmp_path: Path) -> None:
    notebook = nbformat.read(DOCS / name, as_version=4)  # type: ignore[no-untyped-call]
    assert len(notebook.cells) <= 15
    shown = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    place = {"metadata": {"path": tmp_path}}
    # What a slow cell prints comes in several messages: as one stream, as a notebook on disk has it.
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources=place, coalesce_streams=True).execute()
    ran = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    for before, after in zip(shown, ran, strict=True):  # the numbers of another machine may differ
        assert [output.output_type for output in before] == [output.output_type for output in after]
    assert list(tmp_path.iterdir()) == []


def test_every_command_that_the_pages_name_is_there() -> None:
    known = set(get_command(app).commands)  # type: ignore[attr-defined]
    text = "\n".join(page.read_text(encoding="utf-8") for page in (*DOCS.glob("*.md"), ROOT / "README.md"))
    named = set(re.findall(r"(?:^|`)irp ([a-z]+)", text, flags=re.MULTILINE))
    assert named - known == set()
