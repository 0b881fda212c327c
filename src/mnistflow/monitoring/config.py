"""Monitoring parameters: section `monitor` of params.yaml."""

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt

from mnistflow.schema import Rate, Section


class MonitorConfig(Section):
    """Section `monitor`: looks at the inference log.

    Attributes:
        window: least number of images of a look; fewer wait for the next one.
        most: largest number of images of a look, the newest ones.
        false_alarms: largest expected number of false alarms a year.
        tolerance: Kolmogorov-Smirnov distance between traffic and validation examples that counts as no drift.
        max_accuracy_drop: below the validation accuracy, that raises no alarm.
        retrain: whether an alarm starts a retraining.
        cool_down_hours: between two retrainings by alarms; doubled by each failure in a row.
        retrainings_a_day: largest number of retrainings by alarms within 24 hours; beyond it, a person is notified.
        rollback: whether a version that the gate has promoted, and that does worse than the one before, is rolled back.
        watch_hours: how long a promoted version is watched.
        watch_labels: number of images with feedback after which the watch ends earlier.
        report_ratio: how many times as often a wrong answer gets feedback as a right one, at most.
        max_failures: share of a promoted version's requests that may fail.
        max_milliseconds: mean time of a request that is no reason for a rollback.
    """

    window: PositiveInt
    most: PositiveInt
    false_alarms: PositiveFloat
    tolerance: Rate
    max_accuracy_drop: Annotated[float, Field(ge=0, le=1)]
    retrain: bool
    cool_down_hours: PositiveFloat
    retrainings_a_day: PositiveInt
    rollback: bool
    watch_hours: PositiveFloat
    watch_labels: PositiveInt
    report_ratio: PositiveFloat
    max_failures: Rate
    max_milliseconds: PositiveFloat
