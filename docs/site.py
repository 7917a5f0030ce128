"""What the site has beside the pages in docs/: the list of decisions, and the notebooks as pages."""

from __future__ import annotations

from pathlib import Path

import nbformat
from griffe import Extension, Object
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

__all__ = ["Examples", "decisions_page", "notebook_page", "on_files"]

DECISIONS = "decisions"
NOTEBOOKS = {"notebook.md": "python.ipynb", "maps-notebook.md": "maps.ipynb"}
"""Page → notebook."""


class Examples(Extension):
    """Our docstrings have one example each, which the tests run; the site's sections are called `Examples`."""

    def on_object(self, *, obj: Object, **_: object) -> None:
        if obj.docstring is not None:
            obj.docstring.value = obj.docstring.value.replace("Example:\n", "Examples:\n")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages (MkDocs calls this)."""
    docs = Path(config.docs_dir)
    files.append(File.generated(config, f"{DECISIONS}/index.md", content=decisions_page(docs / DECISIONS)))
    for page, notebook in NOTEBOOKS.items():
        files.append(File.generated(config, page, content=notebook_page(docs / notebook)))
    return files


def decisions_page(folder: Path) -> str:
    """A list of the decision records, by their titles."""
    lines = ["# Decisions", "", "A page for each choice that someone will question.", ""]
    for file in sorted(folder.glob("[0-9]*.md")):
        title = file.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        number, _, said = title.partition(". ")
        lines.append(f"- {number}: [{said or title}]({file.name})")
    return "\n".join(lines) + "\n"


def notebook_page(file: Path) -> str:
    """A notebook with what its cells printed, as Markdown."""
    parts = []
    for cell in nbformat.read(file, as_version=4).cells:  # type: ignore[no-untyped-call]
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        printed = "".join(
            output.get("text", "") or output.get("data", {}).get("text/plain", "") for output in cell.outputs
        )
        if printed.strip():
            parts.append(f"```text\n{printed.rstrip()}\n```")
        pictures = [output.get("data", {}).get("image/png") for output in cell.outputs]
        parts += [f"![shown](data:image/png;base64,{picture.strip()})" for picture in pictures if picture]
    return "\n\n".join(parts) + "\n"
