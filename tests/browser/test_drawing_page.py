"""The page, used as people use it: with a mouse, a finger, a pen, the keyboard, a file, on a phone, in the dark."""

import base64
import math
import re
from typing import Any

import numpy as np
import pytest
import serving_kit as kit
from browsing import PAGE_SECONDS, draw, verdict
from page_checks import VIEWS, fits, violations
from PIL import Image
from strokes import SHAPES, Hand, Photo, every_shape
from waiting import wait_until

pytestmark = pytest.mark.slow

NOTHING = "\N{EN DASH}"
# Strokes as shares of the drawing area's side, from the upper left.
DIGITS = {
    "1": [[(0.52, 0.15), (0.50, 0.85)]],
    "7": [[(0.2, 0.15), (0.8, 0.15), (0.35, 0.9)]],
    "0": [
        [
            (0.5 + 0.2 * math.sin(turn / 20 * math.tau), 0.5 - 0.32 * math.cos(turn / 20 * math.tau))
            for turn in range(21)
        ]
    ],
}

HANDS = [Hand(), Hand(size=0.45, centre=(0.32, 0.65)), Hand(slant=0.3), Hand(tremor=0.01)]
PHOTOS = [
    Photo(noise=4, blur=1),
    Photo(0, 255, kind="PNG"),
    Photo(pen=0.025, fall=0.5, noise=3),
    Photo(60, 210, pen=0.1),
]
needs_mnist = pytest.mark.skipif(
    kit.mnist("train", 1) is None, reason="no MNIST at hand; set MNISTFLOW_MIRRORS to a folder with it"
)


@pytest.fixture
def open_page(browser, server):
    """Return a function that opens the page; at the end, the browser must have had nothing to complain about."""
    contexts: list[Any] = []
    complaints: list[str] = []

    def open_(url: str = server.url, **view: Any) -> Any:
        contexts.append(browser.new_context(**view))
        contexts[-1].set_default_timeout(PAGE_SECONDS * 1000)
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: None if request.url.startswith(url) else complaints.append(request.url))
        page.goto(url)
        page.locator("#bars li").first.wait_for()
        return page

    open_.complaints = complaints  # type: ignore[attr-defined]
    yield open_
    for context in contexts:
        context.close()
    assert complaints == []


def wait_for_class(page, name):
    page.wait_for_function("name => document.querySelector('#class').textContent === name", arg=name)


@pytest.mark.parametrize("digit", DIGITS)
def test_a_digit_drawn_with_the_mouse_is_recognised(open_page, digit):
    page = open_page()

    draw(page, DIGITS[digit])

    wait_for_class(page, digit)
    # Read at one moment: an answer to the last of the stroke may still come.
    places = ["#bars li.best .name", "#bars li.best .share", "#certainty"]
    best, share, certainty = page.evaluate("places => places.map(p => document.querySelector(p).textContent)", places)
    assert best == digit
    assert certainty == f"{share} sure"


@needs_mnist
def test_hardly_a_digit_is_misread_in_whatever_hand_it_is_drawn(open_page):
    page = open_page()
    given = []

    for number, shapes in enumerate(SHAPES.values()):
        page.get_by_role("button", name="Clear").click()
        draw(page, HANDS[number % len(HANDS)].write(shapes[number % len(shapes)], number), steps=1)
        given.append(verdict(page))

    assert sum(map(str.__eq__, given, SHAPES)) >= 9, given


@needs_mnist
def test_hardly_a_photograph_of_handwriting_is_misread(server):
    digits, shapes = zip(*every_shape(), strict=True)
    pictures = [
        PHOTOS[number // len(HANDS) % len(PHOTOS)].take(HANDS[number % len(HANDS)].write(shape, number), number)
        for number, shape in enumerate(shapes)
    ]

    answer = server.client.post(
        "/predict", json={"images": [base64.b64encode(picture).decode() for picture in pictures]}
    )

    given = [prediction["class_name"] for prediction in answer.raise_for_status().json()["predictions"]]
    assert sum(map(str.__eq__, given, digits)) >= 0.95 * len(digits), given


def test_a_single_dot_is_ink(open_page):
    page = open_page()

    draw(page, [[(0.5, 0.5)]])

    page.locator("#bars li.best").wait_for()


def test_bars_show_what_the_server_answers_and_add_up(open_page):
    page = open_page()

    draw(page, DIGITS["7"])

    wait_for_class(page, "7")
    shares = [float(text.removesuffix(" %")) for text in page.locator("#bars .share").all_text_contents()]
    assert len(shares) == 10
    assert sum(shares) == pytest.approx(100, abs=0.6)


def test_the_28x28_picture_is_what_the_model_was_given(open_page):
    page = open_page()
    assert not seen_pixels(page).any()

    with page.expect_response(lambda response: response.request.method == "POST"):
        draw(page, DIGITS["1"])
    wait_for_class(page, "1")

    pixels = seen_pixels(page)
    assert pixels.max() == 255
    assert pixels[:, :8].max() == 0  # a 1 is upright, in the middle


def seen_pixels(page):
    values = page.evaluate(
        "Array.from(document.querySelector('#model-input').getContext('2d').getImageData(0, 0, 28, 28).data)"
    )
    return np.array(values).reshape(28, 28, 4)[..., 0]


NUMBER = [
    *Hand(size=0.5, centre=(0.22, 0.5)).write(SHAPES["1"][0]),
    *Hand(size=0.4, centre=(0.72, 0.5)).write(SHAPES["0"][0]),
]


# Of the boxes, as shares of the drawing area's width.
MIDDLES = """() => {
    const pad = document.querySelector("#pad").getBoundingClientRect();
    const boxes = [...document.querySelectorAll("#boxes span")].map((box) => box.getBoundingClientRect());
    return boxes.map((box) => (box.x + box.width / 2 - pad.x) / pad.width);
}"""


@pytest.mark.parametrize("view", ["light", "phone-dark"])
def test_a_number_is_read_digit_by_digit(open_page, screenshots, view):
    page = open_page(**VIEWS[view])

    draw(page, NUMBER, steps=1)

    wait_for_class(page, "10")
    page.get_by_text("2 digits, the least certain").wait_for()
    assert page.locator("#digits .name").all_text_contents() == ["1", "0"]
    assert not page.locator("#bars").is_visible()
    # A slow machine asks for a prediction between the strokes too, and draws everything anew after the last one.
    wait_until(lambda: page.evaluate(MIDDLES) == pytest.approx([0.22, 0.72], abs=0.06))
    page.get_by_text("How it was read").click()
    shown = "() => [...document.querySelectorAll('#step-list img')].filter((image) => image.naturalWidth > 0).length"
    wait_until(lambda: page.evaluate(shown) == 4)
    page.screenshot(path=screenshots / f"page-number-{view}.png", full_page=True)
    assert fits(page)
    assert violations(page) == ""

    page.get_by_role("button", name="Clear").click()

    wait_for_class(page, NOTHING)
    assert page.locator("#boxes span").count() == 0
    assert page.locator("#bars").is_visible()
    assert not page.get_by_text("How it was read").is_visible()


def test_boxes_lie_on_the_digits_of_an_opened_image(open_page, tmp_path):
    picture = np.full((300, 900), 255, np.uint8)
    for left in (200, 700):
        picture[40:260, left : left + 24] = 20
    Image.fromarray(picture).save(tmp_path / "eleven.png")
    page = open_page()

    page.set_input_files("#file", tmp_path / "eleven.png")

    page.locator("#boxes span").nth(1).wait_for()
    pad, *boxes = (place.bounding_box() for place in (page.locator("#pad"), *page.locator("#boxes span").all()))
    corners = [((box["x"] - pad["x"]) / pad["width"], (box["y"] - pad["y"]) / pad["height"]) for box in boxes]
    assert np.abs(np.array(corners) - [(200 / 900, 340 / 900), (700 / 900, 340 / 900)]).max() < 0.02


def test_clear_forgets_the_drawing(open_page):
    page = open_page()
    draw(page, DIGITS["0"])
    wait_for_class(page, "0")

    page.get_by_role("button", name="Clear").click()

    wait_for_class(page, NOTHING)
    assert page.locator("#bars li.best").count() == 0
    draw(page, DIGITS["1"])
    wait_for_class(page, "1")


def test_the_true_class_can_be_chosen_and_corrected(open_page, screenshots):
    page = open_page()
    choice = page.get_by_label("Which class is right?")
    assert not choice.is_visible()
    draw(page, DIGITS["0"])
    wait_for_class(page, "0")

    for name in ("8", "0"):
        choice.focus()
        choice.press("ArrowDown")  # on the way to the right class
        choice.select_option(name)
        page.get_by_role("button", name="Send").click()
        page.get_by_text(f"saved: {name}").wait_for()
    choice.select_option("")
    assert page.get_by_role("button", name="Send").is_disabled()
    page.screenshot(path=screenshots / "page-feedback.png")

    page.get_by_role("button", name="Clear").click()
    assert not choice.is_visible()


def test_the_keyboard_alone_is_enough(open_page):
    page = open_page()

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "pad"
    page.keyboard.press(" ")
    for _ in range(16):
        page.keyboard.press("ArrowDown")
    page.keyboard.press(" ")

    wait_for_class(page, "1")
    page.wait_for_function("() => document.querySelector('#spoken').textContent.startsWith('1, ')")
    page.keyboard.press("Delete")
    wait_for_class(page, NOTHING)


def test_every_control_has_a_name_for_screen_readers(open_page):
    tree = open_page().locator("body").aria_snapshot()

    for name in (
        'heading "Draw a digit"',
        'button "Clear"',
        'button "Open an image"',
        "Drawing area",
        "Probability of each",
    ):
        assert name in tree


@pytest.mark.parametrize("view", VIEWS)
def test_the_page_fits_its_screen_and_shuts_nobody_out(open_page, screenshots, view):
    page = open_page(**VIEWS[view])
    assert violations(page) == ""

    draw(page, DIGITS["7"])
    wait_for_class(page, "7")
    page.get_by_label("Which class is right?").wait_for()
    page.get_by_text("How it was read").click()
    page.locator("#step-list img").nth(4).wait_for()

    assert violations(page) == ""
    page.screenshot(path=screenshots / f"page-{view}.png", full_page=True)
    assert fits(page)


def test_nobody_is_shut_out_of_what_went_wrong(open_page):
    for view in VIEWS.values():
        page = open_page(**view)
        page.set_input_files("#file", {"name": "notes.png", "mimeType": "image/png", "buffer": b"no picture at all"})
        page.locator("#certainty.problem").wait_for()

        assert violations(page) == ""
    assert [text for text in open_page.complaints if "415" not in text] == []
    open_page.complaints.clear()


@pytest.mark.parametrize("view", VIEWS)
def test_the_endpoints_are_described_without_outside_resources_and_nobody_is_shut_out(
    open_page, server, screenshots, view
):
    page = open_page(**VIEWS[view])
    page.goto(f"{server.url}/docs")
    page.get_by_text("Classify one image or several", exact=True).click()

    page.locator("details[open]").get_by_text('"images": [').wait_for()
    documented = page.evaluate("fetch('openapi.json').then((answer) => answer.json())")["paths"]
    operations = [method for methods in documented.values() for method in methods.keys() - {"parameters"}]
    assert page.locator("summary").count() == len(operations)
    page.screenshot(path=screenshots / f"docs-{view}.png", full_page=True)
    assert fits(page)
    page.evaluate("document.querySelectorAll('details').forEach((endpoint) => { endpoint.open = true; })")
    assert violations(page) == ""


@pytest.fixture
def image_of_a_one(tmp_path):
    picture = np.full((300, 200), 255, np.uint8)
    picture[40:260, 90:112] = 20
    Image.fromarray(picture).save(tmp_path / "one.png")
    return tmp_path / "one.png"


def test_an_opened_image_is_recognised(open_page, image_of_a_one):
    page = open_page()

    page.set_input_files("#file", image_of_a_one)

    wait_for_class(page, "1")


def test_a_large_photo_is_recognised(open_page, tmp_path):
    """It has more pixels than the server accepts."""
    picture = np.full((5000, 4000), 255, np.uint8)
    picture[700:4300, 1800:2200] = 20
    Image.fromarray(picture).save(tmp_path / "photo.jpg")
    page = open_page()

    page.set_input_files("#file", tmp_path / "photo.jpg")

    wait_for_class(page, "1")


def test_an_image_that_is_decoded_slowly_does_not_come_back(open_page, image_of_a_one):
    page = open_page(color_scheme="dark")
    page.evaluate("""() => {
        const decode = createImageBitmap;
        window.held = new Promise((resolve) => { window.release = resolve; });
        window.createImageBitmap = async (file) => { await held; return decode(file); };
    }""")
    page.set_input_files("#file", image_of_a_one)
    draw(page, DIGITS["0"])
    page.evaluate("release()")
    wait_for_class(page, "0")
    page.wait_for_timeout(200)
    assert page.locator("#frame.strokes").count() == 1
    assert verdict(page) == "0"


def test_a_dropped_image_is_recognised(open_page, image_of_a_one):
    page = open_page()
    client = page.context.new_cdp_session(page)
    dragged = {"items": [], "files": [str(image_of_a_one)], "dragOperationsMask": 1}

    for kind in ("dragEnter", "dragOver", "drop"):
        client.send("Input.dispatchDragEvent", {"type": kind, "x": 200, "y": 200, "data": dragged})

    wait_for_class(page, "1")
    assert page.locator("#frame.dropping").count() == 0


def test_model_version_and_latency_are_those_of_the_answer(open_page, server, image_of_a_one):
    page = open_page()
    model = server.client.get("/predict").json()
    name = f"{model['model']}, version {model['version']}"
    assert page.locator("#model").text_content().startswith(name)

    page.evaluate(
        """() => {
            const ask = window.fetch;
            window.fetch = async (...request) => {
                const response = await ask(...request);
                window.given = await response.clone().json();
                return response;
            };
        }"""
    )

    page.set_input_files("#file", image_of_a_one)

    wait_for_class(page, "1")

    shown, milliseconds = page.locator("#timing").text_content().removesuffix(" ms").split(", in ")
    assert shown == name
    assert float(milliseconds) == pytest.approx(page.evaluate("given.milliseconds"), abs=0.051)


def test_another_model_can_be_chosen_and_stays_chosen(open_page, two_models, image_of_a_one):
    page = open_page(two_models.url)
    choice = page.get_by_label("Model", exact=True)
    assert choice.input_value() == "digits-classifier"
    answered_by = "name => document.querySelector('#timing').textContent.startsWith(name)"

    for name, version, classes, certainty in (
        ("arrows-classifier", 7, ["up", "round", "other"], r"uncertain: this could be \w+, \w+ or \w+"),
        ("digits-classifier", 1, [str(digit) for digit in range(10)], r"[\d.]+ % sure"),
    ):
        choice.select_option(name)
        page.get_by_text(f"{name}, version {version}").first.wait_for()
        page.set_input_files("#file", image_of_a_one)
        page.wait_for_function(answered_by, arg=f"{name}, version {version}, in ")
        assert page.locator("#bars .name").all_text_contents() == classes
        assert page.locator("#class").text_content() in classes
        assert re.fullmatch(certainty, page.locator("#certainty").text_content())
        page.reload()
        page.get_by_text(f"{name}, version {version}").first.wait_for()
        assert choice.input_value() == name


def test_the_last_choice_of_a_model_counts_and_the_drawing_stays(open_page, two_models):
    page = open_page(two_models.url)
    draw(page, DIGITS["1"])
    held = []

    def hold(route):
        held.append(route)

    page.route("**/predict/arrows-classifier", hold)
    choice = page.get_by_label("Model", exact=True)
    choice.select_option("arrows-classifier")
    wait_until(lambda: page.wait_for_timeout(10) or held)
    choice.select_option("digits-classifier")
    wait_for_class(page, "1")
    held[0].continue_()
    page.wait_for_timeout(200)
    assert page.locator("#bars .name").all_text_contents() == [str(digit) for digit in range(10)]
    assert page.locator("#model").text_content().startswith("digits-classifier")


def test_an_unknown_model_offers_those_that_are_served(open_page, two_models):
    page = open_page(two_models.url)
    page.goto(f"{two_models.url}/?model=former-classifier")
    page.get_by_text("no such model").first.wait_for()
    page.get_by_label("Model", exact=True).select_option("digits-classifier")
    page.get_by_text("digits-classifier, version 1").first.wait_for()
    assert [text for text in open_page.complaints if "404" not in text] == []
    open_page.complaints.clear()


def test_a_page_that_was_loaded_while_the_server_restarted_recovers(open_page, server):
    page = open_page()
    page.route("**/predict", lambda route: route.abort())
    page.reload()
    page.locator("#certainty").get_by_text("the server does not respond").wait_for()
    page.unroute("**/predict")
    draw(page, DIGITS["1"])
    wait_for_class(page, "1")
    assert page.locator("#bars li").count() == 10
    open_page.complaints.clear()  # the browser's own, about the requests that had no answer


def test_a_single_model_leaves_no_choice(open_page):
    assert not open_page().get_by_label("Model", exact=True).is_visible()


def test_a_file_that_is_no_image_is_explained(open_page):
    page = open_page()

    page.set_input_files("#file", {"name": "notes.png", "mimeType": "image/png", "buffer": b"no picture at all"})

    page.get_by_text("this is not a PNG, JPEG, WebP, BMP or GIF file").first.wait_for()
    # The browser's own note about the 415 is the one complaint that belongs here.
    assert [text for text in open_page.complaints if "415" not in text] == []
    open_page.complaints.clear()


def test_a_finger_draws_and_does_not_scroll(open_page):
    page = open_page(**VIEWS["phone"])
    box = page.locator("#pad").bounding_box()
    client = page.context.new_cdp_session(page)

    def touch(kind, y):
        points = [] if kind == "touchEnd" else [{"x": box["x"] + box["width"] / 2, "y": box["y"] + y * box["height"]}]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 0.2)
    for step in range(1, 13):
        touch("touchMove", 0.2 + step * 0.05)
    touch("touchEnd", 0.8)

    wait_for_class(page, "1")
    assert page.evaluate("window.scrollY") == 0


def test_a_pen_draws(open_page):
    page = open_page()
    box = page.locator("#pad").bounding_box()
    client = page.context.new_cdp_session(page)
    page.evaluate("addEventListener('pointerdown', (event) => { window.drawnWith = event.pointerType; })")

    def put(kind, y, buttons=1):
        at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + y * box["height"]}
        pen = {"pointerType": "pen", "button": "left", "buttons": buttons, "clickCount": 1, "force": 0.5}
        client.send("Input.dispatchMouseEvent", {"type": kind, **at, **pen})

    put("mousePressed", 0.2)
    for step in range(1, 13):
        put("mouseMoved", 0.2 + step * 0.05)
    put("mouseReleased", 0.8, buttons=0)

    wait_for_class(page, "1")
    assert page.evaluate("drawnWith") == "pen"


def test_a_palm_beside_the_pen_draws_nothing(open_page):
    page = open_page()
    box = page.locator("#pad").bounding_box()
    client = page.context.new_cdp_session(page)

    def pen(kind, y, buttons=1):
        at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + y * box["height"]}
        kinds = {"pointerType": "pen", "button": "left", "buttons": buttons, "clickCount": 1, "force": 0.5}
        client.send("Input.dispatchMouseEvent", {"type": kind, **at, **kinds})

    def palm(kind):
        at = [{"x": box["x"] + 0.9 * box["width"], "y": box["y"] + 0.9 * box["height"]}]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [] if kind == "touchEnd" else at})

    pen("mousePressed", 0.2)
    for step in range(1, 13):
        pen("mouseMoved", 0.2 + step * 0.05)
        if step in (4, 8):
            palm("touchStart" if step == 4 else "touchEnd")
    pen("mouseReleased", 0.8, buttons=0)

    wait_for_class(page, "1")
    corner = (
        "() => pad.getContext('2d').getImageData(0.6 * pad.width, 0.6 * pad.height, 0.4 * pad.width, 0.4 * pad.height)"
    )
    assert page.evaluate(f"{corner[6:]}.data.every((value) => value === 0)")
