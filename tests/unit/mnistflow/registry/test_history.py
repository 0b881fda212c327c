"""Which version a rollback returns to, from the lines that versions keep."""

from mnistflow.registry import history
from mnistflow.registry.versions import Version


def versions(*events: tuple[int, str]) -> list[Version]:
    """Return versions that became champion one after the other, each `(number, by)` a second after the one before."""
    numbers = sorted({number for number, _ in events})
    return [
        Version("m", number, "", "", "", {}, "hold", (), "", (), 0, tuple(_lines(number, events)), is_overruled=False)
        for number in numbers
    ]


def _lines(number: int, events: tuple[tuple[int, str], ...]) -> list[str]:
    return [
        f"2026-01-01T00:00:{second:02}+00:00 became champion by {by}"
        for second, (other, by) in enumerate(events)
        if other == number
    ]


def earlier(champion: int | None, *events: tuple[int, str]) -> int | None:
    return history.earlier_champion(versions(*events), champion)


def test_the_champion_before_comes_back() -> None:
    assert earlier(3, (1, "gate"), (2, "gate"), (3, "gate")) == 2
    assert earlier(1, (1, "gate")) is None
    assert earlier(None) is None


def test_what_was_rolled_back_does_not_come_back_by_a_rollback() -> None:
    assert earlier(2, (1, "gate"), (2, "gate"), (3, "gate"), (2, "rollback")) == 1
    assert earlier(1, (1, "gate"), (2, "gate"), (3, "gate"), (2, "rollback"), (1, "rollback")) is None
    assert earlier(4, (1, "gate"), (2, "hand"), (1, "rollback"), (4, "gate")) == 1


def test_a_promotion_brings_a_version_into_the_succession_again() -> None:
    assert earlier(3, (1, "gate"), (2, "gate"), (1, "rollback"), (2, "hand"), (3, "gate")) == 2
    assert earlier(1, (1, "gate"), (2, "gate"), (3, "gate"), (1, "hand")) == 3


def test_a_line_whose_alias_was_never_moved_changes_nothing() -> None:
    assert earlier(2, (1, "gate"), (2, "gate"), (3, "gate")) == 1
    assert earlier(3, (1, "gate"), (2, "gate"), (3, "gate"), (2, "rollback")) == 2


def test_a_written_line_is_read_again() -> None:
    version = Version("m", 5, "", "", "", {}, "hold", (), "", (), 0, (history.line("gate"),), is_overruled=False)
    assert history.earlier_champion([version], None) == 5


def test_who_and_why_change_nothing_of_the_succession() -> None:
    lines = (
        (1, history.line("gate")),
        (2, history.line("hand", "ada@laptop", "a reason,\nwhich became champion by rollback")),
        (3, history.line("rollback", reason="it was slow")),
    )
    moments = [f"2026-01-01T00:00:0{second}+00:00 {line.partition(' ')[2]}" for second, (_, line) in enumerate(lines)]
    assert moments[1].endswith("became champion by hand (ada@laptop): a reason, which became champion by rollback")
    known = [
        Version("m", number, "", "", "", {}, "hold", (), "", (), 0, (moment,), is_overruled=False)
        for (number, _), moment in zip(lines, moments, strict=True)
    ]
    assert history.latest(known) == (3, moments[2])
    assert history.earlier_champion(known, 3) == 1


def test_a_champion_chosen_in_mlflow_is_one_of_the_succession() -> None:
    events = [(1, "gate"), (2, "gate"), (3, "MLflow")]
    latest = history.latest(versions(*events))
    assert latest and latest[0] == 3
    assert earlier(3, *events) == 2
    assert history.latest([]) is None


def test_a_line_is_later_than_the_one_before_whatever_the_clock_of_its_machine() -> None:
    before = "2999-01-01T00:00:00.000+00:00 became champion by hand (ada@fast): a reason"
    assert history.line("gate", after=before).startswith("2999-01-01T00:00:00.001+00:00 became champion by gate")
    assert history.line("gate", after=history.line("gate")) > history.line("gate", after=None)[:10]


def test_each_event_names_the_champion_that_it_replaced() -> None:
    events = history.events(versions((1, "gate"), (2, "hand"), (1, "rollback")))
    assert [(event.replaced, event.number, event.by) for event in events] == [
        (None, 1, "gate"),
        (1, 2, "hand"),
        (2, 1, "rollback"),
    ]
