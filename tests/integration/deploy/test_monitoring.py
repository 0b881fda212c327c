"""Alert rules and dashboards: their metrics are those of the server, and Prometheus' own tool accepts the rules."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.metrics.prometheus import Metrics

ROOT = Path(__file__).parents[3]
MONITORING = ROOT / "deploy/chart/monitoring"
PAGE = ROOT / "docs/how-to/deploy.md"
RULES = MONITORING / "rules.yaml"
NAME = re.compile(r"\bmnistflow[_:a-z]+")
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def expressions(value: Any) -> list[str]:
    """Return all PromQL of a dashboard."""
    if isinstance(value, list):
        return [found for entry in value for found in expressions(entry)]
    if isinstance(value, dict):
        own = [value[key] for key in ("expr", "query") if isinstance(value.get(key), str)]
        return own + [found for entry in value.values() for found in expressions(entry)]
    return []


def exposed() -> set[str]:
    return {family.name + suffix for family in Metrics().collect() for suffix in SUFFIXES.get(family.type, ())}


def test_rules_and_dashboards_use_metrics_of_the_server() -> None:
    known = exposed() | {rule["record"] for rule in rules() if "record" in rule}
    used = {name for rule in rules() for name in NAME.findall(rule["expr"])}
    for path in (MONITORING / "dashboards").glob("*.json"):
        board = json.loads(path.read_text())
        ids = [panel["id"] for panel in board["panels"]]
        assert len(set(ids)) == len(ids)
        used |= {name for expression in expressions(board) for name in NAME.findall(expression)}
    assert used - {"mnistflow"} <= known
    assert len(used) > 15


def test_every_alert_says_how_bad_it_is_and_what_it_means() -> None:
    for rule in rules():
        if "alert" in rule:
            assert rule["labels"]["severity"] in ("warning", "critical")
            assert rule["annotations"].keys() == {"summary", "description"}


def find_promtool() -> str:
    return shutil.which("promtool") or pytest.skip("needs promtool: apt-get install --no-install-recommends prometheus")


def test_promtool_accepts_the_configuration_on_the_page(tmp_path: Path) -> None:
    (text,) = re.findall(r"^```yaml\n(rule_files:[^`]+)```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    (job,) = yaml.safe_load(text)["scrape_configs"]
    assert job["job_name"] == "mnistflow-server"  # which the rules expect
    (tmp_path / "prometheus.yml").write_text(text)
    shutil.copy(RULES, tmp_path / "rules.yaml")
    for name in (job["authorization"]["credentials_file"], job["tls_config"]["ca_file"]):
        (tmp_path / name).touch()
    command = [find_promtool(), "check", "config", "prometheus.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_the_rules_and_alerts_come_when_they_should(tmp_path: Path) -> None:
    promtool = find_promtool()
    subprocess.run([promtool, "check", "rules", "--lint-fatal", RULES], check=True, capture_output=True, text=True)
    cases = yaml.safe_load((Path(__file__).parent / "alerts.yaml").read_text())
    (tmp_path / "alerts.yaml").write_text(yaml.safe_dump({**cases, "rule_files": [str(RULES)]}))
    done = subprocess.run(
        [promtool, "test", "rules", tmp_path / "alerts.yaml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
