"""The definitions of lines, `params/lines/NAME.yaml`: read, validated, written; what a line trains with.

Example:
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as project:
    ...     _ = write_line(Line(name="line3", inbox="/data/line3", min_new=50), Path(project))
    ...     line_names(Path(project)), load_line("line3", Path(project)).min_new
    (['line3'], 50)
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

import yaml

from irp_core.atomic import atomic_path
from irp_core.config import Params
from irp_core.config.lines import LINE_NAME, Line
from irp_core.errors import InputError
from irp_core.params_file import checked_params, checked_values
from irp_core.text.plain_yaml import read_yaml

__all__ = ["checked_line", "line_file", "line_names", "line_params", "load_line", "write_line"]

_FOLDER = Path("params/lines")
# What a line needs, whatever `params.yaml` says: a split that adding images does not move, a version of every set.
_FIXED: dict[str, dict[str, Any]] = {
    "dataset": {"layout": "folder", "split": "hash"},
    "contamination": {"fraction": 0.0},
    "review": {"required": False},
    "snapshots": {"enabled": True},
    "run": {"outputs": "full"},
}


def line_file(name: str, project: Path) -> Path:
    """The file that defines a line.

    Raises:
        InputError: not a name that a line may have.
    """
    if not re.match(LINE_NAME, name):
        raise InputError(f"{name!r}: expected a line's name (letters, digits, - and _, at most 63).")
    return project / _FOLDER / f"{name}.yaml"


def line_names(project: Path) -> list[str]:
    """The names of the lines that a project defines, sorted."""
    return sorted(file.stem for file in (project / _FOLDER).glob("*.yaml") if re.match(LINE_NAME, file.stem))


def load_line(name: str, project: Path) -> Line:
    """The line of this name.

    Raises:
        InputError: none of that name, or a definition with a mistake.
    """
    file = line_file(name, project)
    if not file.is_file():
        known = line_names(project)
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known lines: {', '.join(known) or 'none'}."
        raise InputError(f"{file}: no line is called {name!r}; {hint} `irp line add` makes one.")
    values = read_yaml(file)
    if not isinstance(values, dict):
        raise InputError(f"{file}: expected keys with values, found {type(values).__name__}.")
    if values.get("name", name) != name:
        raise InputError(f"{file}: name must be that of the file, {name!r}. Got {values['name']!r}.")
    line = checked_line({**values, "name": name}, str(file))
    line_params(line, project)  # a mistake in the parameters is said before anything starts
    return line


def checked_line(values: dict[str, Any], source: str) -> Line:
    """Validate plain values.

    Args:
        source: where they come from, for the error.

    Raises:
        InputError: an unknown key, a value out of range.
    """
    return checked_values(values, source, Line, "keys")


def line_params(line: Line, project: Path) -> Params:
    """The parameters that a line trains with: `params.yaml`, the line's own on top, and what a line cannot do without.

    Raises:
        InputError: a mistake in either, or a setting that a line cannot have.
    """
    source = f"{line_file(line.name, project)}: params"
    for section, fixed in _FIXED.items():
        for key, value in fixed.items():
            if line.params.get(section, {}).get(key, value) != value:
                found = line.params[section][key]
                raise InputError(f"{source}: {section}.{key} must be {value!r} for a line. Got {found!r}.")
    base = project / "params.yaml"
    values: dict[str, Any] = (read_yaml(base) or {}) if base.is_file() else {}
    if not isinstance(values, dict):
        raise InputError(f"{base}: expected sections with keys, found {type(values).__name__}.")
    for sections in (line.params, _FIXED, {"tracking": {"registered_model": line.name}}):
        for section, keys in sections.items():
            values[section] = {**(values.get(section) or {}), **keys}
    return checked_params(values, source)


def write_line(line: Line, project: Path) -> Path:
    """Write a line's definition, what differs from the defaults only; returns the file."""
    file = line_file(line.name, project)
    values = line.model_dump(mode="json", exclude_defaults=True, exclude={"name"})
    with atomic_path(file) as temporary:
        temporary.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return file
