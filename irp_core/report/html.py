"""A page from a template: one self-contained HTML file, in which nothing is taken for markup that is not meant so."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from irp_core.atomic import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["svg", "write_html"]

_SHARED = Path(__file__).parent / "templates"


def write_html(template: Path, output: Path, filters: Mapping[str, Callable[..., Any]], **values: Any) -> Path:
    """Render `template` with `values`, and write it whole or not at all; returns `output`.

    Args:
        template: a file; it may include those that all pages share (`base.css`).
        filters: of the template, by name.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, _SHARED]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    page = environment.get_template(template.name).render(**values)
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(output) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return output


def svg(figure: Figure) -> str:
    """A figure as it stands in a page: as wide as its place."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    # Inline: no XML prolog, and a size that follows the page.
    return re.sub(
        r'(<svg[^>]*?) height="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text[text.index("<svg") :])
    )
