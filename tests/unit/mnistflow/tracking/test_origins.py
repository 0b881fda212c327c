"""Origins of a run, from parameters as MLflow keeps them."""

import pytest

from mnistflow.tracking.origins import Origins

RUN = "0a1b" * 8


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, Origins()),
        ({"model.members": f"[1, 'champion', '{RUN}']"}, Origins(members=(1, "champion", RUN))),
        ({"train.distillation": "{'teacher': 3, 'weight': 0.5, 'sha256': None}"}, Origins(teacher=3)),
        ({"train.distillation": "{'teacher': None, 'weight': 0.5, 'sha256': None}"}, Origins()),
        ({"train.warm_start": RUN}, Origins(warm_start=RUN)),
        ({"train.warm_start": "None", "model.members": "[]"}, Origins()),
        ({"train.warm_start": "2"}, Origins(warm_start=2)),
        ({"model.members": "[1, 2, 'cham"}, Origins()),
    ],
)
def test_they_are_read_from_parameters(parameters: dict[str, str], expected: Origins) -> None:
    assert Origins.of(parameters) == expected


def test_all_of_them_are_one_set() -> None:
    assert Origins(members=(1, RUN), teacher=1, warm_start="champion").all == {1, RUN, "champion"}
    assert Origins().all == set()
