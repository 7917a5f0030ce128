"""docs/architecture.md draws the rooms and arrows that the import contracts hold; no room or file is too large."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("flows", "tasks", "irp_core")
MOST_FILES, MOST_LINES = 12, 350

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
CONTRACTS: list[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
    "importlinter"
]["contracts"]


def layers_of(package: str) -> list[set[str]]:
    """The contract's layers, the highest first."""
    (contract,) = [c for c in CONTRACTS if c["type"] == "layers" and c.get("containers") == [package]]
    return [set(re.split(r" *[:|] *", layer)) for layer in contract["layers"]]


def cells() -> dict[str, list[str]]:
    """The picture's columns, from top to bottom: a line of rooms per layer."""
    heads, _, _, *lines = PAGE.split("```\n")[1].splitlines()
    starts = {package: heads.index(f"{package}/") for package in PACKAGES}
    assert sorted(starts, key=lambda package: starts[package]) == list(PACKAGES)
    ends = {"flows": starts["tasks"], "tasks": starts["irp_core"], "irp_core": None}
    found = {name: [line[starts[name] : ends[name]].strip() for line in lines] for name in PACKAGES}
    return {name: [cell for cell in column if cell] for name, column in found.items()}


def rooms_in(cell: str) -> set[str]:
    return set(re.sub(r" *\(\d+\)", "", cell).split(" · "))


@pytest.mark.parametrize("package", PACKAGES)
def test_the_picture_has_the_rooms_of_the_contracts_in_their_order(package: str) -> None:
    assert [rooms_in(cell) for cell in cells()[package]] == layers_of(package)


def test_the_columns_are_the_packages_in_the_order_of_the_contract() -> None:
    (contract,) = [c for c in CONTRACTS if c["type"] == "layers" and "containers" not in c]
    assert contract["layers"] == list(PACKAGES)


def test_every_other_contract_is_stated_and_no_other() -> None:
    stated = PAGE.split("Besides, by contract:\n")[1].split("\n\n")[0].splitlines()
    assert sorted(stated) == sorted(f"- {contract['name']}" for contract in CONTRACTS if contract["type"] != "layers")


def test_the_way_of_an_image_names_the_numbered_rooms() -> None:
    drawn = {}
    for column in cells().values():
        for cell in column:
            drawn |= {int(number): room for room, number in re.findall(r"(\w+) \((\d+)\)", cell)}
    told = {int(number): room for number, room in re.findall(r"^(\d+)\. `(\w+)`:", PAGE, flags=re.MULTILINE)}
    assert drawn == told
    assert sorted(told) == list(range(1, len(told) + 1))


@pytest.mark.parametrize("package", [*PACKAGES, "benchmarks"])
def test_no_room_and_no_file_is_too_large(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert len(files) > 10
    folders = {folder: [f for f in files if f.parent == folder and f.name != "__init__.py"] for folder in
               {file.parent for file in files}}  # fmt: skip
    crowded = {str(folder.relative_to(ROOT)): len(inside) for folder, inside in folders.items()}
    assert {name: count for name, count in crowded.items() if count > MOST_FILES} == {}
    lines = {str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_says_what_lives_there(package: str) -> None:
    folders = {file.parent for file in (ROOT / package).rglob("*.py")}
    silent = [folder for folder in folders if not (folder / "__init__.py").is_file()]
    assert [str(folder.relative_to(ROOT)) for folder in silent] == []
    for folder in folders:
        first = (folder / "__init__.py").read_text(encoding="utf-8")
        assert first.startswith('"""'), folder
