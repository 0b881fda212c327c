"""The demo's summary: what it asks of a quarter, and the picture of one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from demo import picture
from demo.quarter import WEEKS, Week
from demo.summary import Summary
from PIL import Image

HELD = Summary(
    before=0.98,
    unaided=0.4,
    aided=0.95,
    official=(0.98, 0.985),
    alarms=8,
    false_alarms=0,
    promotions=(1, 2, 3),
    rollbacks=("watch: worse",),
)


def test_a_quarter_holds_what_it_promises() -> None:
    assert not HELD.failures
    assert round(HELD.recovered, 3) == 0.948


def test_each_broken_promise_is_named() -> None:
    broken = replace(HELD, aided=0.9, official=(0.98, 0.978), false_alarms=1, rollbacks=())
    assert broken.failures == (
        "only 86.2% of the lost accuracy came back",
        "0.20% were lost on the official test split",
        "there were 0 rollbacks",
        "there were 1 false alarms",
    )


def test_a_picture_shows_all_weeks(tmp_path: Path) -> None:
    example = np.zeros((28, 28), np.uint8)
    weeks = [
        Week(number, plan, {"a": "1"}, example, 1, 0.9, 0.5, ("inputs",), (), (2,), 1)
        for number, plan in enumerate(WEEKS, 1)
    ]
    picture.draw(tmp_path / "quarter.png", weeks)
    with Image.open(tmp_path / "quarter.png") as drawn:
        assert drawn.width > drawn.height > 300
