"""The page of generated images, in a real browser."""

import serving_kit as kit
import toy_generator
from browsing import PAGE_SECONDS
from playwright.sync_api import Page, expect
from waiting import wait_until


def shown(page: Page, text: str) -> None:
    """Wait until the page shows as many images as it names, all of them loaded."""
    expect(page.locator("#state")).to_contain_text(text, timeout=PAGE_SECONDS * 1000)
    wait_until(lambda: page.evaluate("[...document.images].map((one) => one.naturalWidth)") == [28] * 24)


def test_any_class_is_drawn_on_demand(browser, tmp_path):
    classifier, images = kit.untrained(0), kit.digits()[0]
    kit.publish(tmp_path, 1, classifier, images)
    kit.crown(tmp_path, 1)
    toy_generator.publish(tmp_path)
    page = browser.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    with kit.Server(tmp_path) as server:
        page.goto(server.url)
        page.get_by_role("link", name="Images that a network has made up").click()
        shown(page, "24 images of zero, seeds from 0")
        page.get_by_role("button", name="T-shirt/top").click()
        shown(page, "24 images of T-shirt/top, seeds from 0")
        before = page.locator("img").first.get_attribute("src")
        page.get_by_role("button", name="New ones").click()
        shown(page, "24 images of T-shirt/top")
        assert page.locator("img").first.get_attribute("src") != before
    page.close()
    assert problems == []
