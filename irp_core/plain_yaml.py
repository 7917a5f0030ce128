"""YAML from outside as plain values: of a bounded size, also once its aliases are written out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from irp_core.errors import InputError

__all__ = ["parse_yaml", "read_yaml"]

_MAX_BYTES = 1_000_000
_MAX_VALUES = 10_000


def read_yaml(file: Path) -> Any:
    """The content of a YAML file.

    Raises:
        InputError: it cannot be read, is not UTF-8 or not YAML, is too large, or too deeply nested.
    """
    try:
        with open(file, "rb") as stream:
            content = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}).") from None
    if len(content) > _MAX_BYTES:
        raise InputError(f"{file}: expected at most {_MAX_BYTES:,} bytes of YAML, found more.")
    try:
        return parse_yaml(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: expected text in UTF-8, found another encoding ({error.reason}).") from None
    except InputError as error:
        raise InputError(f"{file}: {error}") from None


def parse_yaml(text: str) -> Any:
    """The values of a YAML text.

    Raises:
        InputError: it is not YAML, too deeply nested, or more than ten thousand values once its aliases are written out
            (nine lines of aliases make a thousand million).

    Example:
        >>> parse_yaml("[1, {a: 2}]")
        [1, {'a': 2}]
        >>> parse_yaml("a: &a [*a]")
        Traceback (most recent call last):
        irp_core.errors.InputError: expected values that end, found one that contains itself.
    """
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        if node is not None and _size(node, {}) > _MAX_VALUES:
            raise InputError(f"expected at most {_MAX_VALUES:,} values, found more once the aliases are written out.")
        return yaml.safe_load(text)
    except InputError:
        raise
    except yaml.YAMLError as error:
        raise InputError(f"is not valid YAML ({' '.join(str(error).split())}).") from None
    except RecursionError:
        raise InputError("is not valid YAML (nested too deeply).") from None
    except ValueError as error:  # a date or a number that is none
        raise InputError(f"is not valid YAML ({error}).") from None


def _size(node: yaml.Node, known: dict[int, int | None]) -> int:
    """Values below a node and itself, every alias counted as what it stands for."""
    if id(node) in known:
        size = known[id(node)]
        if size is None:
            raise InputError("expected values that end, found one that contains itself.")
        return size
    known[id(node)] = None
    size = 1
    if isinstance(node, yaml.SequenceNode):
        size += sum(_size(child, known) for child in node.value)
    elif isinstance(node, yaml.MappingNode):
        size += sum(_size(child, known) for pair in node.value for child in pair)
    known[id(node)] = size
    return size
