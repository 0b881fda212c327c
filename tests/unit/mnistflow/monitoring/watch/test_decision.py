"""Decision of a watch: what makes a promoted version go, what lets it stay, and what is no evidence."""

from datetime import timedelta

from checkouts import ROOT

from mnistflow import config
from mnistflow.monitoring.watch import decision
from mnistflow.monitoring.watch.evidence import Evidence, Pairs
from mnistflow.monitoring.watch.record import Watch
from mnistflow.server_client import RequestCounts

SETTINGS = config.load(ROOT / "params.yaml").monitor.with_values(
    {"watch_hours": 24.0, "watch_labels": 500, "report_ratio": 1.0, "max_failures": 0.01, "max_milliseconds": 25.0}
)
UNLABELLED, UNASKED = Pairs(), RequestCounts()
WATCH = Watch(version=4, predecessor=3, since="2026-01-01T00:00:00+00:00")


def after(
    pairs: Pairs = UNLABELLED,
    champion: RequestCounts = UNASKED,
    before: RequestCounts = UNASKED,
    refusals: dict[str, str] | None = None,
    hours: float = 1,
    **settings: float,
) -> Watch:
    evidence = Evidence(pairs, champion, before, refusals or {})
    return decision.decide(WATCH, evidence, timedelta(hours=hours), SETTINGS.with_values(settings))


def test_more_losses_than_wins_are_worse_once_they_cannot_be_chance() -> None:
    assert after(Pairs(100, wins=3, losses=7)).outcome == "watching"
    worse = after(Pairs(100, wins=2, losses=18))
    assert (worse.outcome, worse.labelled, worse.wins, worse.losses) == ("worse", 100, 2, 18)
    assert "2 won and 18 lost of 100 images" in worse.reason
    assert after(Pairs(100, wins=18, losses=2)).outcome == "watching"


def test_errors_that_are_reported_sooner_than_right_answers_need_more_losses() -> None:
    reported = Pairs(200, wins=10, losses=30)
    assert after(reported).outcome == "worse"
    assert after(reported, report_ratio=3.0).outcome == "watching"
    assert after(Pairs(200, wins=1, losses=39), report_ratio=3.0).outcome == "worse"


def test_the_watch_ends_after_its_time_or_its_labels() -> None:
    assert after(hours=23).outcome == "watching"
    kept = after(Pairs(60, wins=4, losses=3), hours=24)
    assert (kept.outcome, kept.reason) == ("kept", "4 won and 3 lost of 60 images with feedback")
    assert after(Pairs(500, wins=4, losses=3)).outcome == "kept"
    assert after(Pairs(500, wins=2, losses=40)).outcome == "worse"
    assert "gone" in after(Pairs(problem="version 3 is gone"), hours=24).reason


def test_a_version_that_fails_or_that_no_server_takes_has_to_go() -> None:
    assert after(champion=RequestCounts(1000, failed=10)).outcome == "watching"
    assert "failing: 60 of 1,000" in after(champion=RequestCounts(1000, failed=60)).reason
    as_before = after(champion=RequestCounts(1000, failed=60), before=RequestCounts(1000, failed=80))
    assert as_before.outcome == "watching"
    refused = after(refusals={"http://one": "its file is damaged"})
    assert refused.outcome == "worse"
    assert "http://one refuses to serve it: its file is damaged" in refused.reason


def test_slower_is_twice_the_time_of_before_and_above_the_limit() -> None:
    quick, slow, slower = (
        RequestCounts(200, seconds=1.0),
        RequestCounts(200, seconds=8.0),
        RequestCounts(200, seconds=20.0),
    )
    assert "slower: 40.0 ms a request, 5.0 before" in after(champion=slow, before=quick).reason
    assert after(champion=slow, before=quick, max_milliseconds=50.0).outcome == "watching"
    assert after(champion=RequestCounts(200, seconds=12.0), before=slow).outcome == "watching"
    assert after(champion=slower, before=slow).outcome == "worse"
    assert after(champion=slow, before=RequestCounts(5, seconds=0.01)).outcome == "watching"  # too few to compare
