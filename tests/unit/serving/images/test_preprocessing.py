"""Preprocessing of images: photos, scans and drawings, against the digits they show."""

import io
import struct
import zlib

import image_faults
import numpy as np
import pytest
import serving_kit as kit
import unusual_images
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from serving.errors import InvalidRequestError, TooLargeError, UnsupportedMediaError
from serving.images.preprocessing import to_model_input


@pytest.fixture(scope="module")
def digits():
    return kit.mnist("t10k", 40) or kit.digits()


@pytest.fixture(scope="module")
def seven(digits):
    images, labels = digits
    return Image.fromarray(images[np.flatnonzero(labels == 7)[0]])


@pytest.fixture(scope="module")
def ink(seven):
    """The digit drawn anew, with strokes as wide as MNIST's: those of scikit-learn's digits are twice as wide."""
    return image_faults.from_outline(to_model_input(encoded(enlarged(seven))))


def encoded(image, kind="PNG", **options):
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def enlarged(image, side=280):
    return image.resize((side, side), Image.Resampling.BICUBIC)


def likeness(one, other):
    """Return the correlation of two images, one of them moved by at most a pixel."""
    shifts = [np.roll(one, (down, right), (0, 1)) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    return max(np.corrcoef(np.ravel(shifted), np.ravel(other))[0, 1] for shifted in shifts)


def centre_of_mass(picture):
    weights = picture.astype(float)
    return [(np.indices(picture.shape)[axis] * weights).sum() / weights.sum() for axis in (0, 1)]


@pytest.mark.skipif(kit.mnist("t10k", 1) is None, reason="no MNIST at hand; set MNISTFLOW_MIRRORS to a folder with it")
def test_images_of_mnist_pass_unchanged():
    found = kit.mnist("t10k", 500)
    assert found
    images, _ = found

    for image in images:
        assert np.array_equal(to_model_input(encoded(Image.fromarray(image))), image)


PHOTOGRAPHS = {
    "dark on white": lambda digit: ImageOps.invert(enlarged(digit)),
    "bright on black": enlarged,
    "far from the middle": lambda digit: ImageOps.expand(enlarged(digit, 140), (400, 20, 60, 300)),
    "faint": lambda digit: ImageOps.invert(enlarged(digit)).point(lambda value: 150 + value // 4),
    "on transparent paper": lambda digit: Image.merge("LA", (Image.new("L", (280, 280)), enlarged(digit))),
    "in colour": lambda digit: ImageOps.colorize(enlarged(digit), "lightyellow", "navy"),
    "of 16 bits": lambda digit: Image.fromarray(np.asarray(enlarged(digit)).astype(np.uint16) * 257),
    "in two colours": lambda digit: ImageOps.invert(enlarged(digit)).convert("1"),
    "with a palette": lambda digit: ImageOps.invert(enlarged(digit)).convert("P"),
}


@pytest.mark.parametrize("photograph", PHOTOGRAPHS.values(), ids=PHOTOGRAPHS)
def test_the_digit_is_found_however_it_was_written(seven, photograph):
    found = to_model_input(encoded(photograph(seven)))

    assert found.shape == (28, 28)
    assert found.dtype == np.uint8
    assert found.max() == 255
    assert likeness(found, to_model_input(encoded(enlarged(seven)))) > 0.95


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_transparent_colour_is_the_paper(mode):
    """Most of what is opaque in a fine drawing is nearly as bright as the paper."""
    sheet = Image.new("L", (800, 1000), 255)
    ImageDraw.Draw(sheet).line([(200, 200), (600, 200), (350, 800)], fill=0, width=8)
    drawing = sheet.resize((200, 250), Image.Resampling.LANCZOS).convert(mode)
    white = 255 if mode == "L" else (255, 255, 255)

    assert np.array_equal(to_model_input(encoded(drawing, transparency=white)), to_model_input(encoded(drawing)))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_a_large_transparent_drawing_is_read_like_an_opaque_one(seven, mode):
    ink = enlarged(seven, 3000)
    drawing = Image.merge("LA", (Image.new("L", ink.size), ink)).convert("RGBA").convert(mode)

    found = to_model_input(encoded(drawing))

    assert likeness(found, to_model_input(encoded(ImageOps.invert(ink)))) > 0.98


def test_shade_and_noise_of_a_camera_are_not_ink(seven):
    paper = 200 + np.linspace(-20, 20, 600)[None] + np.random.default_rng(0).normal(0, 5, (600, 600))
    paper[150:430, 150:430] -= np.asarray(enlarged(seven)) * 0.7
    photo = Image.fromarray(paper.clip(0, 255).astype(np.uint8))

    found = to_model_input(encoded(photo, "JPEG", quality=80))

    assert likeness(found, to_model_input(encoded(enlarged(seven)))) > 0.9


def test_a_fine_pen_gives_strokes_as_wide_as_those_of_mnist(seven):
    fine = enlarged(seven, 420).point(lambda value: 255 if value > 127 else 0).filter(ImageFilter.MinFilter(13))

    widths = [(picture > 127).sum() for picture in (to_model_input(encoded(fine)), np.asarray(seven))]

    assert 0.75 < widths[0] / widths[1] < 1.25


@pytest.mark.parametrize("size", [(300, 300), (800, 600), (1600, 900)])
def test_lines_of_a_pixel_on_a_large_sheet_are_ink(size):
    shape = [(100, 60), (220, 60), (150, 240)]
    fine, usual = Image.new("L", size, 255), Image.new("L", (300, 300), 255)
    ImageDraw.Draw(fine).line(shape, fill=0, width=1 if size[0] < 1000 else 2)
    ImageDraw.Draw(usual).line(shape, fill=0, width=14)

    found = to_model_input(encoded(fine))

    assert likeness(found, to_model_input(encoded(usual))) > 0.8


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_small_digit_on_a_large_page_is_read_with_all_of_its_pixels(seven, kind, orientation):
    page = np.full((2600, 2000), 250, np.uint8)
    page[1500:1590, 400:490][np.asarray(enlarged(seven, 90)) > 127] = 30
    sheet = Image.fromarray(page).filter(ImageFilter.GaussianBlur(1))
    turned = {1: sheet, 3: sheet.rotate(180), 6: sheet.rotate(90, expand=True)}[orientation]

    found = to_model_input(encoded(turned, kind, exif=exif(orientation), quality=90))

    assert likeness(found, to_model_input(encoded(enlarged(seven)))) > 0.9


@pytest.mark.parametrize("strength", image_faults.STRENGTHS)
def test_a_fat_marker_gives_strokes_that_the_model_knows(ink, strength):
    clean = to_model_input(image_faults.make(ink, [], seed=0))

    found = to_model_input(unusual_images.make(ink, "marker", strength, seed=strength))

    assert (found > 127).sum() < 2 * (clean > 127).sum()
    assert likeness(found, clean) > 0.7


@pytest.mark.parametrize("width", [60, 100, 160])
def test_a_loop_of_a_fine_pen_is_no_outline_of_a_stroke(width):
    sheet = Image.new("L", (300, 300), 255)
    ImageDraw.Draw(sheet).ellipse((150 - width // 2, 50, 150 + width // 2, 250), outline=0, width=4)

    found = to_model_input(encoded(sheet))

    assert found[12:16, 13:15].max() < 60


# These change the shape of the digit itself; benchmarks/serving/hard_images.py counts how they are read, and how
# faults of the largest strength are.
OF_SHAPE = {"none", "rotated", "slanted", "thin", "thick", "cut"}


@pytest.mark.parametrize("strength", image_faults.STRENGTHS[:2])
@pytest.mark.parametrize("fault", sorted(image_faults.FAULTS.keys() - OF_SHAPE))
def test_faults_of_sheet_light_and_camera_leave_the_digit_as_it_is(ink, fault, strength):
    clean = to_model_input(image_faults.make(ink, [], seed=0))

    found = to_model_input(image_faults.make(ink, [(fault, strength)], seed=strength))

    assert likeness(found, clean) > 0.8


@pytest.mark.parametrize("strength", image_faults.STRENGTHS[:2])
@pytest.mark.parametrize("kind", sorted(unusual_images.KINDS.keys() - {"marker"}))
def test_unusual_images_show_the_same_digit(ink, kind, strength):
    clean = to_model_input(image_faults.make(ink, [], seed=0))

    found = to_model_input(unusual_images.make(ink, kind, strength, seed=strength))

    assert likeness(found, clean) > 0.8


def test_a_single_upright_stroke_is_ink_and_no_sheet():
    sheet = np.full((448, 448), 255, np.uint8)
    sheet[90:340, 206:242] = 0

    found = to_model_input(encoded(Image.fromarray(sheet)))

    columns = np.flatnonzero(found.max(axis=0) > 127)
    assert len(columns) == np.ptp(columns) + 1 == 3
    assert (found[5:23, columns[1]] > 200).all()


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    tags[0x010E] = "what is shown"
    tags[0x8769] = {0x829A: (1, 30), 0x9003: "2025:01:02 03:04:05"}  # exposure and time, in a directory of their own
    return tags.tobytes()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_camera_is_believed(seven, kind, orientation):
    photo = encoded(ImageOps.invert(enlarged(seven, 90)), kind, exif=exif(orientation), quality=95)
    with Image.open(io.BytesIO(photo)) as image:
        upright = ImageOps.exif_transpose(image)

    assert likeness(to_model_input(photo), to_model_input(encoded(upright))) > 0.99


@pytest.mark.filterwarnings("ignore::UserWarning")  # with which Pillow tells of the damage
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_sound_picture_is_read_however_its_exif_is_damaged(seven, kind):
    sheet, whole = ImageOps.invert(enlarged(seven, 90)), exif(6)
    as_it_is, turned = (to_model_input(encoded(image)) for image in (sheet, sheet.rotate(-90)))
    for position in range(6, len(whole)):
        damaged = whole[:position] + bytes([whole[position] ^ 0x0D]) + whole[position + 1 :]

        found = to_model_input(encoded(sheet, kind, exif=damaged))

        assert max(likeness(found, as_it_is), likeness(found, turned)) > 0.95
    assert likeness(to_model_input(encoded(sheet, kind, exif=b"Exif\0\0rubbish")), as_it_is) > 0.95


def test_ink_fits_the_box_and_its_mass_lies_in_the_middle(digits):
    for image in digits[0][:20]:
        found = to_model_input(encoded(ImageOps.expand(enlarged(Image.fromarray(image), 100), (10, 90, 200, 0))))

        extent = [np.flatnonzero((found > 60).any(axis=axis)) for axis in (0, 1)]
        assert max(indices[-1] - indices[0] + 1 for indices in extent) in (19, 20)
        assert centre_of_mass(found) == pytest.approx([14, 14], abs=0.6)


def test_the_plain_manner_keeps_the_frame():
    shirt = np.zeros((56, 28), np.uint8)
    shirt[4:20] = 90

    found = to_model_input(encoded(Image.fromarray(shirt)), mode="plain")

    assert found.max() <= 100  # brightness means something here: it is not stretched
    assert np.flatnonzero(found.any(axis=1))[0] in (1, 2)
    assert not found[:, :6].any()
    assert np.array_equal(found, to_model_input(encoded(Image.fromarray(255 - shirt)), mode="plain"))


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (28, 28), (600, 3)])
@pytest.mark.parametrize("grey", [0, 127, 255])
def test_a_blank_sheet_has_no_ink(size, grey):
    with pytest.raises(InvalidRequestError, match="no ink"):
        to_model_input(encoded(Image.new("L", size, grey)))


@pytest.mark.parametrize("shape", [(2, 2), (1, 40), (900, 2)])
def test_odd_shapes_still_give_a_picture(shape):
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)

    assert to_model_input(encoded(Image.fromarray(noise))).shape == (28, 28)


@pytest.mark.hostile
def test_too_many_pixels_are_refused_by_the_header_alone():
    picture = bytearray(encoded(Image.new("L", (1, 1))))
    picture[16:24] = struct.pack(">II", 30_000, 30_000)
    picture[29:33] = struct.pack(">I", zlib.crc32(picture[12:29]))

    with pytest.raises(TooLargeError):
        to_model_input(bytes(picture))


@pytest.mark.parametrize("data", [b"", b"II*\0" + bytes(40), b"<svg/>", b"%PDF-1.7", bytes(784)])
def test_other_kinds_of_files_are_not_opened(data):
    with pytest.raises(UnsupportedMediaError):
        to_model_input(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF"])
def test_a_damaged_file_is_refused_wherever_it_breaks_off(seven, kind):
    whole = encoded(enlarged(seven, 90), kind)

    for length in range(12, len(whole) * 3 // 4, 41):
        with pytest.raises(InvalidRequestError):
            to_model_input(whole[:length])


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("paper", [235, 70], ids=["ink on paper", "chalk on a board"])
def test_light_that_falls_off_by_half_leaves_no_trace(seven, turns, paper):
    sheet = np.full((400, 400), float(paper))
    sheet[60:340, 60:340] += np.asarray(enlarged(seven)) / 255 * (35 - paper if paper > 127 else 150)
    light = np.rot90(np.tile(np.linspace(1, 0.45, 400), (400, 1)), turns)
    photo = Image.fromarray((sheet * light).astype(np.uint8))

    found = to_model_input(encoded(photo, "JPEG"))

    assert likeness(found, to_model_input(encoded(enlarged(seven)))) > 0.95


@pytest.mark.parametrize("turns", range(4))
def test_a_stroke_along_a_whole_side_is_ink(turns):
    sheet = np.full((200, 200), 255, np.uint8)
    sheet[:24] = sheet[:, 88:112] = 0
    cut = Image.fromarray(np.rot90(sheet, turns))

    found = to_model_input(encoded(cut))

    assert likeness(found, to_model_input(encoded(ImageOps.expand(cut, 30, 255)))) > 0.99
