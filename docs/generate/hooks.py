"""What MkDocs asks while it builds the site: pages made from the code, files from outside docs/, and formulas.

The start page is README.md, and the pages on images and clusters are docker/README.md and infra/README.md: each is kept
once, where it is read in the repository. Links between files are relative to where they lie, so they work in both.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import api_pages
import commands_page
import formulas
import rewards_page
import settings_page
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
KEPT_OUTSIDE = {  # place in the site by place in the repository
    "README.md": "index.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "docker/README.md": "running/images.md",
    "infra/README.md": "running/cluster.md",
}
MADE: dict[str, Callable[[], str]] = {
    "reference/settings.md": settings_page.page,
    "reference/commands.md": commands_page.page,
    "reference/rewards.md": rewards_page.page,
}
LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """The pages of the API into the navigation, one a package; formulas into the Markdown."""
    assert config.nav is not None
    reference = next(entry["Reference"] for entry in config.nav if "Reference" in entry)
    reference.append({"Python": [{name: path} for name, path in api_pages.paths().items()]})
    config.mdx_configs.setdefault("pymdownx.superfences", {})["custom_fences"] = [formulas.FENCE]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made, and those that are kept elsewhere in the repository."""
    made = {place: make() for place, make in MADE.items()} | api_pages.pages()
    kept = {place: _with_links_of_the_site((ROOT / name).read_text(), name) for name, place in KEPT_OUTSIDE.items()}
    for place, content in (made | kept).items():
        files.append(File.generated(config, place, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Links to files outside docs/ that are pages too lead to those pages."""
    if page.file.src_uri in KEPT_OUTSIDE.values():
        return markdown
    return _with_links_of_the_site(markdown, posixpath.join("docs", page.file.src_uri))


def _with_links_of_the_site(markdown: str, file: str) -> str:
    """Links between files of the repository, as they lead in the site."""

    def lead(match: re.Match[str]) -> str:
        target = match[2]
        if "://" in target or target.startswith("mailto:"):
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(file), target))
        place = _place(path)
        return match[0] if place is None else match[1] + posixpath.relpath(place, posixpath.dirname(here)) + match[3]

    here = _place(file) or file
    return LINK.sub(lead, markdown)


def _place(path: str) -> str | None:
    """Where a file of the repository is in the site; None: it is not."""
    if path in KEPT_OUTSIDE:
        return KEPT_OUTSIDE[path]
    return path.removeprefix("docs/") if path.startswith("docs/") else None
