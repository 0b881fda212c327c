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
# Pages link to what a reference page is generated from, which exists outside the site too.
SHOWN_AS = {
    "flows/cli": "reference/command-line.md",
    "params.yaml": "reference/parameters.md",
    "src/mnistflow/environment.py": "reference/environment-variables.md",
    "serving/settings.py": "reference/server-settings.md",
    "serving/static/openapi.json": "reference/http-api.md",
    "schemas/model.schema.json": "reference/model-manifest.md",
    "src/mnistflow": "reference/python/mnistflow.md",
    "src/mnistflow/analysis": "reference/python/mnistflow.analysis.md",
}
log = logging.getLogger("mkdocs.hooks.generate")  # a warning here fails a strict build
SOURCE = re.compile(r"`((?:src|flows|serving|tests|benchmarks|deploy|docs|schemas)/[\w./-]+)`")
PAGE_LINK = re.compile(r"\]\(([^)#:]+\.md)")
SOURCE_LINK = re.compile(rf"\]\(((?:\.\./)*)\.\./({'|'.join(map(re.escape, SHOWN_AS))})\)")
BESIDE = ("README.md", "CONTRIBUTING.md", "SECURITY.md")
DIAGRAM = re.compile(r"^<!-- diagram: (\w+) -->$", re.MULTILINE)


def on_config(config: MkDocsConfig) -> None:
    """Put one page for each folder of code below "Python API"."""
    section: list[Any] = next(entry["Reference"] for entry in config.nav or () if "Reference" in entry)
    entry: dict[str, list[Any]] = next(item for item in section if isinstance(item, dict) and "Python API" in item)
    entry["Python API"] = [{name: path} for name, path in python_api.pages().items()]


def on_pre_build(config: MkDocsConfig) -> None:
    """Warn of what a page names or links to and what is not in the checkout."""
    pages = [*Path(config.docs_dir).rglob("*.md"), *(markup.ROOT / name for name in BESIDE)]
    for page in pages:
        text, title = page.read_text(encoding="utf-8"), page.relative_to(markup.ROOT)
        for name in SOURCE.findall(text):
            if not (markup.ROOT / name).exists():
                log.warning("%s names %s, which does not exist", title, name)
        for link in PAGE_LINK.findall(text):
            if not (page.parent / link).exists():
                log.warning("%s links to %s, which is not in git: link to its source, see SHOWN_AS", title, link)


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the generated pages; nothing is written beside the sources."""
    for path, page in PAGES.items():
        files.append(File.generated(config, path, content=page()))
    for name, path in python_api.pages().items():
        files.append(File.generated(config, path, content=python_api.page(name)))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Replace `<!-- diagram: NAME -->` by that diagram or table, and links to sources by links to their pages."""
    linked = SOURCE_LINK.sub(lambda match: f"]({match[1]}{SHOWN_AS[match[2]]})", markdown)
    return DIAGRAM.sub(lambda match: diagrams.DIAGRAMS[match[1]](), linked)
