"""MkDocs hooks: the reference pages and the diagrams, generated from the code at each build."""

import logging
import re
from pathlib import Path
from typing import Any

import command_line
import diagrams
import environment_variables
import http_api
import markup
import model_manifest
import parameters
import python_api
import server_settings
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PAGES = {
    "reference/command-line.md": command_line.page,
    "reference/parameters.md": parameters.page,
    "reference/environment-variables.md": environment_variables.page,
    "reference/server-settings.md": server_settings.page,
    "reference/http-api.md": http_api.page,
    "reference/model-manifest.md": model_manifest.page,
}
log = logging.getLogger("mkdocs.hooks.generate")  # a warning here fails a strict build
SOURCE = re.compile(r"`((?:src|flows|serving|tests|benchmarks|deploy|docs|schemas)/[\w./-]+)`")
BESIDE = ("README.md", "CONTRIBUTING.md", "SECURITY.md")
DIAGRAM = re.compile(r"^<!-- diagram: (\w+) -->$", re.MULTILINE)


def on_config(config: MkDocsConfig) -> None:
    """Put one page for each folder of code below "Python API"."""
    section: list[Any] = next(entry["Reference"] for entry in config.nav or () if "Reference" in entry)
    entry: dict[str, list[Any]] = next(item for item in section if isinstance(item, dict) and "Python API" in item)
    entry["Python API"] = [{name: path} for name, path in python_api.pages().items()]


def on_pre_build(config: MkDocsConfig) -> None:
    """Warn of files and folders of the checkout that a page names and that do not exist."""
    pages = [*Path(config.docs_dir).rglob("*.md"), *(markup.ROOT / name for name in BESIDE)]
    for page in pages:
        for name in SOURCE.findall(page.read_text(encoding="utf-8")):
            if not (markup.ROOT / name).exists():
                log.warning("%s names %s, which does not exist", page.relative_to(markup.ROOT), name)


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the generated pages; nothing is written beside the sources."""
    for path, page in PAGES.items():
        files.append(File.generated(config, path, content=page()))
    for name, path in python_api.pages().items():
        files.append(File.generated(config, path, content=python_api.page(name)))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Replace `<!-- diagram: NAME -->` by the diagram or table of that name."""
    return DIAGRAM.sub(lambda match: diagrams.DIAGRAMS[match[1]](), markdown)
