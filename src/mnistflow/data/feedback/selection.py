"""Selection: which reports become training examples, and why the others do not.

What a reviewer has accepted always does. Other reports are held back if they exceed the limit of their source, if they
contradict another report on the very same image, if their label is suspicious (see `suspicion`), or if too many
reports of their source are.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mnistflow.data.config import PrepareConfig
from mnistflow.data.entry import Entry
from mnistflow.data.feedback import golden, suspicion
from mnistflow.data.feedback.reports import FeedbackReports, Report, as_examples, images
from mnistflow.paths import Paths
from mnistflow.splits import OfficialSplits, Split

MIN_OF_SOURCE = 10  # reports without which a source is not judged as a whole


@dataclass(frozen=True, eq=False)
class Selection:
    """Reports that become training examples, and those that do not.

    Attributes:
        used: the former.
        held: key of a report -> the report and why it is held back; a review decides.
        excluded: key of a report -> the report and why it never becomes a training example.
    """

    used: tuple[Report, ...]
    held: Mapping[str, tuple[Report, str]] = field(default_factory=dict)
    excluded: Mapping[str, tuple[Report, str]] = field(default_factory=dict)

    def examples(self, entry: Entry) -> Split:
        """Return the images of the reports that are used, uint8 `[n, height, width]`, with labels, oldest first."""
        return as_examples(sorted(self.used, key=lambda report: (report.time, report.key)), entry)


def select(
    reports: Sequence[Report],
    entry: Entry,
    official: OfficialSplits,
    config: PrepareConfig,
    golden_set: Split | None = None,
) -> Selection:
    """Select the reports that become training examples.

    Args:
        reports: all of them.
        entry: the data set.
        official: its official splits. Images of the test split are excluded.
        config: section `prepare` of params.yaml.
        golden_set: its examples are excluded as well; None without one.
    """
    out = excluded(reports, entry, official, golden_set)
    others = [report for report in reports if report.key not in out]
    accepted = [report for report in others if report.decision == "accept"]
    waiting = [report for report in others if report.decision is None]
    reasons = _reasons(accepted, waiting, entry, official.train, config)
    return Selection(
        used=tuple(report for report in others if report.key not in reasons),
        held={report.key: (report, reasons[report.key]) for report in waiting if report.key in reasons},
        excluded=out,
    )


def excluded(
    reports: Sequence[Report], entry: Entry, official: OfficialSplits, golden_set: Split | None
) -> dict[str, tuple[Report, str]]:
    """Return key of a report -> the report and why it never becomes a training example. See `select`."""
    test_images = {image.tobytes() for image in official.test.inputs}
    found = {report.key: (report, why) for report in reports if (why := _exclusion(report, entry, test_images))}
    return found if golden_set is None else found | _golden(reports, entry, golden_set)


def preview(paths: Paths, config: PrepareConfig, feedback: FeedbackReports) -> Selection:
    """Return which feedback would become training examples, and why the other would not.

    Args:
        paths: of the checkout.
        config: section `prepare` of params.yaml.
        feedback: all of it.

    Raises:
        DataError: the raw files cannot be read, or the golden set is missing or damaged.
    """
    official, frozen = _official_and_golden(paths, config, feedback.entry)
    return select(feedback.reports, feedback.entry, official, config, frozen)


def exclusion_reasons(paths: Paths, config: PrepareConfig, feedback: FeedbackReports) -> dict[str, str]:
    """Return key of a report -> why it never becomes a training example.

    Args:
        paths: of the checkout.
        config: section `prepare` of params.yaml.
        feedback: all of it.

    Raises:
        DataError: the raw files cannot be read, or the golden set is missing or damaged.
    """
    official, frozen = _official_and_golden(paths, config, feedback.entry)
    out = excluded(feedback.reports, feedback.entry, official, frozen)
    return {key: why for key, (_, why) in out.items()}


def _official_and_golden(paths: Paths, config: PrepareConfig, entry: Entry) -> tuple[OfficialSplits, Split | None]:
    return entry.read(paths.raw), golden.load(paths, entry, config.golden)


def _exclusion(report: Report, entry: Entry, test_images: Collection[bytes]) -> str | None:
    if report.decision == "reject":
        return "rejected by a review"
    if report.class_name not in entry.classes:
        return f"of class {report.class_name}, which {entry.name} does not have"
    return "in the test split" if report.image.tobytes() in test_images else None


def _golden(reports: Sequence[Report], entry: Entry, golden_set: Split) -> dict[str, tuple[Report, str]]:
    found = golden.among(images(reports, entry), golden_set.inputs)
    return {
        report.key: (report, "in the golden set") for report, is_golden in zip(reports, found, strict=True) if is_golden
    }


def _reasons(
    accepted: Sequence[Report], waiting: Sequence[Report], entry: Entry, train: Split, config: PrepareConfig
) -> dict[str, str]:
    """Return key of a report -> why it is held back."""
    if config.feedback_use == "all":
        return {}
    if config.feedback_use == "reviewed":
        return {report.key: "it waits for a review" for report in waiting}
    doubtful = {**_suspicious(accepted, waiting, entry, train), **_contradicted([*accepted, *waiting])}
    return {**_distrusted(waiting, doubtful, config.feedback_trust), **doubtful, **_beyond(waiting, config)}


def _suspicious(accepted: Sequence[Report], waiting: Sequence[Report], entry: Entry, train: Split) -> dict[str, str]:
    found = suspicion.likelier_labels(as_examples(accepted, entry), as_examples(waiting, entry), train)
    return {
        waiting[row].key: f"reported as {waiting[row].class_name}, but looks like {entry.classes[label]}"
        for row, label in found.items()
    }


def _contradicted(reports: Iterable[Report]) -> dict[str, str]:
    """Return the reports whose image has another label in another report; what a review has accepted stays."""
    of_image: dict[bytes, list[Report]] = defaultdict(list)
    for report in reports:
        of_image[report.image.tobytes()].append(report)
    found: dict[str, str] = {}
    for same in of_image.values():
        names = sorted({report.class_name for report in same})
        if len(names) > 1:
            found |= {
                report.key: f"the same image is reported as {' and as '.join(names)}"
                for report in same
                if report.decision is None
            }
    return found


def _distrusted(waiting: Sequence[Report], doubtful: Mapping[str, str], trust: float) -> dict[str, str]:
    """Return the reports of sources with too small a share of reports that raise no doubt."""
    all_of = Counter(report.source for report in waiting)
    doubtful_of = Counter(report.source for report in waiting if report.key in doubtful)
    distrusted = {
        source: f"{doubtful_of[source]} of {count} reports of {_named(source)} are doubtful"
        for source, count in all_of.items()
        if count >= MIN_OF_SOURCE and 1 - doubtful_of[source] / count < trust
    }
    return {report.key: distrusted[report.source] for report in waiting if report.source in distrusted}


def _beyond(waiting: Sequence[Report], config: PrepareConfig) -> dict[str, str]:
    """Return the oldest reports of sources that have sent more than the limit."""
    of_source: dict[str, list[Report]] = defaultdict(list)
    for report in sorted(waiting, key=lambda report: (-report.time, report.key)):
        of_source[report.source].append(report)
    limit = config.feedback_per_source
    return {
        report.key: f"{_named(source)} has sent more than {limit} reports"
        for source, reports in of_source.items()
        for report in (reports[limit:] if limit is not None else ())
    }


def _named(source: str) -> str:
    return f"source {source}" if source else "clients without a key"
