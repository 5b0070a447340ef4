"""What mkdocs is told beyond mkdocs.yml: pages from outside docs/, and links between them."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]

OUTSIDE = {
    "benchmarks.md": "benchmarks/README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}
"""Page -> file of the repository that it shows."""


def on_files(files: Files, config: Any) -> Files:
    """Add the files of the repository that are pages too."""
    for page, path in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / path).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Point links at pages: documents are written to be read in the repository, where they lie elsewhere."""
    source = ROOT / OUTSIDE.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    pages = {(ROOT / path).resolve(): name for name, path in OUTSIDE.items()}

    def link(found: re.Match[str]) -> str:
        target, anchor = found[1], found[2] or ""
        if "://" in target:
            return found[0]
        path = (source.parent / target).resolve()
        if path in pages:
            name = pages[path]
        elif path.is_relative_to(ROOT / "docs") and path.exists():
            name = path.relative_to(ROOT / "docs").as_posix()
        else:
            return found[0]
        return f"]({'../' * page.file.src_uri.count('/')}{name}{anchor})"

    return re.sub(r"\]\(([^)#\s]+)(#[^)\s]*)?\)", link, markdown)
