"""Checks of pages in a real browser: the views that people have, the width of a phone, and accessibility."""

from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

VIEWS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"color_scheme": "light", "viewport": {"width": 360, "height": 780}, "has_touch": True, "is_mobile": True},
    "phone-dark": {
        "color_scheme": "dark",
        "viewport": {"width": 360, "height": 780},
        "has_touch": True,
        "is_mobile": True,
    },
}

# WCAG 2.0 to 2.2, levels A and AA, in the names of axe-core.
WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"], "resultTypes": ["violations"]}


def fits(page: Page) -> bool:
    """Return whether nothing sticks out to the right."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))


def violations(page: Page) -> str:
    """Return what axe-core finds against WCAG 2, A and AA, in words; an empty text when there is nothing."""
    found = Axe().run(page, options=WCAG)
    return str(found.generate_report()) if found.violations_count else ""
