"""Numbers: all digits of an image are found, in their order, and each in its box."""

import io
import itertools

import image_faults
import many_digits
import numpy as np
import pytest
import serving_kit as kit
import strokes
from PIL import Image, ImageOps

from serving.errors import InvalidRequestError
from serving.images.numbers.number import choose_digits, limited, read_number, text
from serving.images.preprocessing import read

MAX_PIXELS = 16_000_000


@pytest.fixture(scope="module")
def digits():
    return kit.mnist("t10k", 2000) or kit.digits()


@pytest.fixture(scope="module")
def classifier():
    return kit.fit_network(*(kit.mnist("train", 20_000) or kit.digits()))


@pytest.fixture
def read_text(classifier):
    """Return a function that reads an image file: the text, and the digits with their boxes."""

    def read_(file):
        candidates = read_number(file, max_pixels=MAX_PIXELS).candidates
        probabilities = classifier.probabilities(candidates.inputs)
        (found,) = choose_digits([candidates], probabilities)
        names = [str(probabilities[digit.row].argmax()) for digit in found]
        return text(found, names), found

    return read_


def drawn(digits, *classes):
    """Return the ink of a digit of each class."""
    images, labels = digits
    return [image_faults.from_outline(images[np.flatnonzero(labels == each)[0]]) for each in classes]


def encoded(image, kind="PNG", **options):
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "least"), [("spaced", 0.7), ("sizes", 0.7), ("lines", 0.7), ("touching", 0.6), ("touching sizes", 0.4)]
)
def test_most_digits_of_numbers_are_read(digits, read_text, kind, least):
    images, labels = digits
    random = np.random.default_rng(0)
    right = []

    for seed in range(10):
        numbers = random.integers(0, len(images), random.integers(2, 9))
        inks = [image_faults.from_outline(images[number]) for number in numbers]
        found, _ = read_text(many_digits.write(inks, kind, seed))
        right.append(many_digits.agreement(found, many_digits.text(labels[numbers], kind)))

    assert np.mean(right) >= least, np.mean(right)


@pytest.mark.parametrize("kind", ["boxed", "comb", "underlined", "cropped"])
def test_lines_around_a_number_and_a_close_crop_neither_add_digits_nor_lose_any(digits, read_text, kind):
    drawn_digits = drawn(digits, 7, 0, 3, 4, 1)

    found, boxes = read_text(many_digits.write(drawn_digits, kind, seed=1))

    expected, plain = read_text(many_digits.write(drawn_digits, "spaced", seed=1))
    assert found == expected == "70341"
    moved = np.array([one.box for one in boxes]) - [other.box for other in plain]
    assert np.ptp(moved, axis=0).max() <= 8


def test_the_cells_of_a_tilted_form_are_no_digits(digits, read_text):
    found, _ = read_text(many_digits.write(drawn(digits, 7, 0, 3, 4, 1), "tilted comb", seed=1))

    assert found == "70341"


@pytest.mark.parametrize("size", [(500, 40), (40, 40), (300, 6)])
def test_a_dash_is_not_cut_into_digits(read_text, size):
    sheet = Image.new("L", (640, 400), 255)
    sheet.paste(0, (60, 150, 60 + size[0], 150 + size[1]))

    _, found = read_text(encoded(sheet))

    assert len(found) == 1


def test_digits_are_in_their_order_and_their_boxes_beside_each_other(digits, read_text):
    found, boxes = read_text(many_digits.write(drawn(digits, 7, 0, 3), "spaced", seed=1))

    assert found == "703"
    lefts = [digit.box.x for digit in boxes]
    assert lefts == sorted(lefts)
    for one, following in itertools.pairwise(boxes):
        assert one.box.x + one.box.width <= following.box.x
    assert all(abs(digit.box.height - many_digits.HEIGHT) <= 4 for digit in boxes)


def test_lines_are_read_from_top_to_bottom(digits, read_text):
    found, _ = read_text(many_digits.write(drawn(digits, 7, 0, 3, 4), "lines", seed=0))

    assert found == "70\n34"


def test_strokes_apart_are_one_digit(digits, read_text):
    body, bar = strokes.Hand(size=0.6).write(strokes.SHAPES["5"][0])
    five = strokes.ink([body, bar - (0, 0.05)], image_faults.SIDE, 0.05)

    found, _ = read_text(many_digits.write([*drawn(digits, 7), five, *drawn(digits, 0)], "spaced", seed=0))

    assert found == "750"


def test_parts_above_each_other_share_a_line(digits, read_text):
    (three,) = drawn(digits, 3)
    three[148:154] = 0

    found, boxes = read_text(many_digits.write([*drawn(digits, 7), three, *drawn(digits, 0)], "spaced", seed=0))

    assert "\n" not in found
    assert len(boxes) == 3


def test_a_single_digit_is_read_as_without_asking_for_many(digits, read_text):
    file = many_digits.write(drawn(digits, 4), "spaced", seed=0)
    alone = read(file, mode="digit", max_pixels=MAX_PIXELS)

    _, (digit,) = read_text(file)

    assert digit.row == 0
    assert digit.box == alone.box
    assert np.array_equal(read_number(file, max_pixels=MAX_PIXELS).candidates.inputs[0], alone.input)


@pytest.mark.parametrize("kind", ["spaced", "sizes", "lines"])
def test_several_digits_are_noticed_where_one_was_asked_for(digits, kind):
    images, _ = digits
    random = np.random.default_rng(1)
    noticed = 0
    for seed in range(10):
        inks = [image_faults.from_outline(images[number]) for number in random.integers(0, len(images), 3)]
        file = many_digits.write(inks, kind, seed)
        noticed += read(file, mode="digit", max_pixels=MAX_PIXELS).shows_several
    assert noticed >= 8


@pytest.mark.parametrize("fault", ["none", "ruled", "box", "crop marks", "frame", "desk", "shadow", "pencil"])
def test_one_digit_on_a_bad_sheet_is_not_taken_for_several(digits, fault):
    for seed, ink in enumerate(drawn(digits, 0, 4, 5, 8)):
        file = image_faults.make(ink, [(fault, 2)], seed)
        assert not read(file, mode="digit", max_pixels=MAX_PIXELS).shows_several


def test_strokes_apart_are_not_taken_for_several_digits():
    body, bar = strokes.Hand(size=0.6).write(strokes.SHAPES["5"][0])
    five = strokes.ink([body, bar - (0, 0.05)], image_faults.SIDE, 0.05)
    file = image_faults.make(five, [("none", 1)], 0)
    assert not read(file, mode="digit", max_pixels=MAX_PIXELS).shows_several


def test_pixels_and_images_in_mnists_form_are_one_digit():
    in_form = np.zeros((28, 28), np.uint8)
    in_form[4:24, 12:16] = 255
    for image in (in_form, encoded(Image.fromarray(in_form))):
        candidates = read_number(image, max_pixels=MAX_PIXELS).candidates

        assert not candidates.lines
        assert np.array_equal(candidates.inputs, read(image, mode="digit", max_pixels=MAX_PIXELS).input[None])
        assert candidates.whole.width > 0


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_boxes_are_those_of_the_upright_image(digits, read_text, orientation):
    with Image.open(io.BytesIO(many_digits.write(drawn(digits, 7, 0, 3), "spaced", seed=1))) as image:
        upright = image.convert("L")
    turn = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    tags = Image.Exif()
    tags[0x0112] = orientation
    large = upright.resize((upright.width * 3, upright.height * 3)).transpose(turn[orientation])

    found, boxes = read_text(encoded(large, "JPEG", quality=90, exif=tags.tobytes()))
    _, expected = read_text(encoded(upright))

    assert found == "703"
    for digit, small in zip(boxes, expected, strict=True):
        assert np.abs(np.array(digit.box) - 3 * np.array(small.box)).max() <= 12


def test_a_blank_image_is_refused_as_for_one_digit():
    with pytest.raises(InvalidRequestError, match="no ink found"):
        read_number(encoded(Image.new("L", (300, 200), 255)), max_pixels=MAX_PIXELS)


@pytest.mark.hostile
def test_more_strokes_than_digits_may_have_are_refused():
    sheet = np.full((600, 600), 255, np.uint8)
    for top in range(10, 580, 60):
        for left in range(10, 580, 60):
            sheet[top : top + 40, left : left + 8] = 0
    grid = encoded(Image.fromarray(sheet))

    with pytest.raises(InvalidRequestError, match="at most 32 digits"):
        read_number(grid, max_pixels=MAX_PIXELS)


@pytest.mark.hostile
@pytest.mark.parametrize("shape", [(640, 640), (2000, 3), (3, 2000), (64, 640)])
def test_noise_has_few_candidates(shape):
    for seed in range(2):
        random = np.random.default_rng(seed)
        for noise in (random.integers(0, 256, shape, np.uint8), (random.random(shape) < 0.02).astype(np.uint8) * 255):
            try:
                candidates = read_number(
                    encoded(ImageOps.invert(Image.fromarray(noise))), max_pixels=MAX_PIXELS
                ).candidates
            except InvalidRequestError:
                continue
            assert len(candidates.inputs) <= 1 + 12 * 32 + 8 * 32


def test_the_candidates_of_several_images_are_limited(digits):
    readings = [read_number(image, max_pixels=MAX_PIXELS) for image in digits[0][:3]]

    assert len(list(limited(readings, 3))) == 3
    with pytest.raises(InvalidRequestError, match="at most 2 candidates"):
        list(limited(readings, 2))
