"""The review page, used as people use it: with keys, with a finger, in the dark."""

import sqlite3
from contextlib import closing

import pytest
import serving_kit as kit
from browsing import PAGE_SECONDS
from page_checks import VIEWS, fits, violations

pytestmark = pytest.mark.slow

ADMIN = "an admin's key"
REPORTS = 8


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """Serve a classifier of digits with reports that wait, the later ones the more doubtful; yield server and log."""
    images, labels = kit.digits()
    folder = tmp_path_factory.mktemp("review")
    kit.publish(folder / "models", 1, kit.linear_classifier(images, labels), images)
    kit.set_champion(folder / "models", 1)
    log = folder / "inferences.db"
    arguments = ("--inference-log", str(log))
    with kit.Server(folder / "models", *arguments, MNISTFLOW_SERVE_ADMIN_KEYS=ADMIN) as server:
        for row in range(REPORTS):
            headers = {"x-request-id": f"r{row}"}
            answer = server.client.post("/predict", content=images[row].tobytes(), headers=headers).json()
            ranked = sorted(range(10), key=lambda label: -answer["probabilities"][label])
            report = {"id": f"r{row}", "class_name": str(ranked[row])}
            server.client.post("/feedback", json=report).raise_for_status()
        yield server, log


@pytest.fixture
def open_page(browser, reported):
    """Return a function that opens the page; at the end, the browser must have had nothing to complain about."""
    server, log = reported
    with closing(sqlite3.connect(log)) as connection, connection:
        connection.execute("DELETE FROM reviews")
    contexts, complaints = [], []

    def open_(**view):
        contexts.append(browser.new_context(**view))
        contexts[-1].set_default_timeout(PAGE_SECONDS * 1000)
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{server.url}/review")
        return page

    open_.complaints = complaints  # type: ignore[attr-defined]
    yield open_
    for context in contexts:
        context.close()
    assert complaints == []


def sign_in(page, key=ADMIN):
    page.get_by_label("Admin key").fill(key)
    page.keyboard.press("Enter")


def wait_for_state(page, text):
    page.locator("#state").get_by_text(text, exact=True).wait_for()


def decisions(log):
    with closing(sqlite3.connect(log)) as connection:
        rows = connection.execute("SELECT id, decision, class_name FROM reviews ORDER BY time").fetchall()
    return [tuple(row) for row in rows]


def test_each_key_press_decides_a_report(open_page, reported):
    _, log = reported
    page = open_page()
    sign_in(page)
    wait_for_state(page, f"{REPORTS} left")
    first = page.locator("#reported").text_content()

    page.keyboard.press("a")
    wait_for_state(page, f"accepted as {first}; {REPORTS - 1} left")
    second = page.locator("#reported").text_content()
    page.keyboard.press("r")
    wait_for_state(page, f"rejected {second}; {REPORTS - 2} left")
    page.keyboard.press("3")
    wait_for_state(page, f"accepted as 3; {REPORTS - 3} left")
    page.keyboard.press("u")
    wait_for_state(page, f"undone; {REPORTS - 2} left")
    page.keyboard.press("5")
    wait_for_state(page, f"accepted as 5; {REPORTS - 3} left")

    made = decisions(log)
    assert [(decision, name) for _, decision, name in made] == [("accept", first), ("reject", second), ("accept", "5")]
    assert len({id_ for id_, *_ in made}) == 3
    page.reload()  # the key is kept while the tab is open
    page.locator("#report").wait_for()
    page.locator("#accept").click()
    page.locator("#state").get_by_text(f"{REPORTS - 4} left").wait_for()
    assert len(decisions(log)) == 4


def test_a_key_belongs_to_the_class_of_that_name(open_page):
    page = open_page()
    sign_in(page)
    keys = page.locator("#report kbd:visible")
    keys.first.wait_for()
    assert keys.all_text_contents() == ["A", "R", "U"]
    page.evaluate("showKeys(['q', 'r'])")
    assert keys.all_text_contents() == ["A", "U"]
    assert page.locator("#reject").get_attribute("aria-keyshortcuts") is None


def test_a_wrong_key_is_asked_for_again(open_page):
    page = open_page()
    sign_in(page, "ключ")
    page.locator("#state.problem").get_by_text("not a valid key").wait_for()
    sign_in(page, "wrong")
    page.locator("#state.problem").get_by_text("admin keys").wait_for()
    sign_in(page)
    page.locator("#report").wait_for()
    assert open_page.complaints and all("401" in text for text in open_page.complaints)
    open_page.complaints.clear()


def test_what_was_replaced_meanwhile_is_shown_again_instead_of_decided(open_page, reported):
    server, log = reported
    page = open_page()
    sign_in(page)
    wait_for_state(page, f"{REPORTS} left")
    server.client.post("/feedback", json={"id": f"r{REPORTS - 1}", "class_name": "0"}).raise_for_status()
    server.client.post("/feedback", json={"id": f"r{REPORTS - 2}", "class_name": "0"}).raise_for_status()

    page.keyboard.press("r")

    page.locator("#state.problem").get_by_text("review it again").wait_for()
    assert decisions(log) == []
    page.keyboard.press("r")
    page.locator("#state").get_by_text(f"{REPORTS - 1} left").wait_for()
    assert open_page.complaints and all("409" in text for text in open_page.complaints)
    open_page.complaints.clear()


@pytest.mark.parametrize("view", VIEWS)
def test_nobody_is_shut_out(open_page, screenshots, view):
    page = open_page(**VIEWS[view])
    page.locator("#sign-in").wait_for()
    assert violations(page) == ""
    sign_in(page)
    page.locator("#report").wait_for()
    page.screenshot(path=screenshots / f"review-{view}.png", full_page=True)
    assert violations(page) == ""
    assert fits(page)
    for left in reversed(range(REPORTS)):
        page.get_by_role("button", name="Reject").click()
        page.locator("#state").get_by_text(f"; {left} left").wait_for()
    page.get_by_text("No report waits for a review.").wait_for()
    assert violations(page) == ""
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("button", name="Accept as 4").click()
    page.get_by_text("accepted as 4; 0 left").wait_for()
