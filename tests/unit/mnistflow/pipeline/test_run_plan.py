"""What is refused before a run starts."""

import pytest

from mnistflow.errors import ConfigError
from mnistflow.pipeline import run_plan


@pytest.mark.parametrize(("family", "dataset"), [("tree", "digits"), ("gan", "digits_generation")])
def test_a_teacher_of_a_family_that_cannot_learn_from_one_is_refused(settings, family, dataset) -> None:
    chosen = settings.with_values({"model.family": family, "train.distillation.teacher": 99})
    with pytest.raises(
        ConfigError, match=rf"train\.distillation\.teacher: family {family} cannot learn from a teacher"
    ):
        run_plan.pin_models(chosen, dataset)
