"""The drawing page in a real browser: for tests and benchmarks."""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PAGE_SECONDS = 180.0  # that a page may take for anything, also on a busy machine
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def chromium() -> str | None:
    """Return the browser's program; None where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


@contextmanager
def running(program: str) -> "Iterator[Browser]":
    """Yield a browser without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        browser.close()


def draw(page: "Page", strokes: "Iterable[Iterable[tuple[float, float]]]", steps: int = 8) -> None:
    """Draw with the mouse; points are shares of the drawing area's side, with so many events on the way to each."""
    box = page.locator("#pad").bounding_box()
    assert box
    for points in strokes:
        path = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
        page.mouse.move(*path[0])
        page.mouse.down()
        for point in path[1:]:
            page.mouse.move(*point, steps=steps)
        page.mouse.up()


def verdict(page: "Page") -> str:
    """Return the class that the page shows for the drawing as it is now, not as it was on the way."""
    page.evaluate(
        """async () => {
            while (isPredicting) await new Promise((resume) => setTimeout(resume, 5));
            clearTimeout(pauseTimer);
            await predict();
        }"""
    )
    return page.locator("#class").text_content() or ""
