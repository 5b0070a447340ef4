"""Hooks of mkdocs: pages from outside docs/, and the links between them."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]

OUTSIDE = {
    "benchmarks.md": "benchmarks/README.md",
    "reading.md": "benchmarks/reading/README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "findings.md": "findings/README.md",
}
"""Page -> file of the repository that it shows."""


def on_files(files: Files, config: Any) -> Files:
    """Add the files of the repository that are pages too."""
    for page, path in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / path).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Return the text with its links pointing at pages: documents are written to be read in the repository."""
    source = ROOT / OUTSIDE.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    pages = {(ROOT / path).resolve(): name for name, path in OUTSIDE.items()}

    def link(match: re.Match[str]) -> str:
        target, anchor = match[1], match[2] or ""
        if "://" in target:
            return match[0]
        path = (source.parent / target).resolve()
        if path in pages:
            name = pages[path]
        elif path.is_relative_to(ROOT / "docs") and path.exists():
            name = path.relative_to(ROOT / "docs").as_posix()
        else:
            return match[0]
        return f"]({'../' * page.file.src_uri.count('/')}{name}{anchor})"

    return re.sub(r"\]\(([^)#\s]+)(#[^)\s]*)?\)", link, markdown)
