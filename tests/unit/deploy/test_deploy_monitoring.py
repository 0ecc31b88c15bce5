"""Alert rules and the dashboard: every figure they read is told by an API or a worker, with the labels they use.

The language of the rules is checked in `tests/integration/deploy`. What Grafana makes of the dashboard is not checked:
it has no published schema for files.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from api.metrics import Metrics
from core.database import Database
from core.settings import DatabaseSettings
from migrations.upgrade import upgrade
from workers.metrics import WorkerMetrics

DEPLOY = Path(__file__).parents[3] / "deploy"
sys.path.insert(0, str(DEPLOY))
import dashboard  # noqa: E402

RULES: list[dict[str, Any]] = yaml.safe_load((DEPLOY / "monitoring" / "alerts.yaml").read_text())["groups"][0]["rules"]
QUERIES = [rule["expr"] for rule in RULES] + [
    query for row in dashboard.ROWS.values() for panel in row for _, query in panel.lines
]
_OF_SCRAPES = {"instance", "job", "le"}
_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Every series that API and workers tell, by name, with its labels."""
    settings = DatabaseSettings(url=f"sqlite:///{tmp_path_factory.mktemp('figures')}/misc.db")
    upgrade(settings)
    database = Database(settings)
    metrics = Metrics(database)
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(metrics.render()[0].decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    # What has no value yet is declared all the same.
    found |= {"misc_jobs_failed": {"code"}, "misc_spending": {"period"}}
    for holder in (metrics, WorkerMetrics()):
        for metric in vars(holder).values():
            if isinstance(metric, MetricWrapperBase):
                [family] = metric.describe()
                for suffix in _SUFFIXES[family.type]:
                    found[family.name + suffix] = set(metric._labelnames)
    database.close()
    return found


@pytest.mark.parametrize("query", QUERIES)
def test_query_reads_figures_that_are_told(query: str, figures: dict[str, set[str]]) -> None:
    names = re.findall(r"\bmisc_\w+", query)
    assert names
    assert set(names) <= set(figures)
    known = set().union(*(figures[name] for name in names)) | _OF_SCRAPES
    in_braces = [label for part in re.findall(r"\{(.*?)\}", query) for label in re.findall(r"(\w+)\s*(?:=|!)", part)]
    grouped = [label.strip() for part in re.findall(r"(?:by|on) \((.*?)\)", query) for label in part.split(",")]
    assert {*in_braces, *grouped} <= known


def test_every_figure_is_on_the_dashboard(figures: dict[str, set[str]]) -> None:
    shown = set(re.findall(r"\bmisc_\w+", " ".join(QUERIES)))
    families = {re.sub(r"_(?:bucket|sum|count|total)$", "", name) for name in figures if name.startswith("misc_")}
    assert {re.sub(r"_(?:bucket|sum|count|total)$", "", name) for name in shown} == families


def test_dashboard_file_is_what_its_program_writes() -> None:
    assert dashboard.PATH.read_text() == dashboard.text(), "run: .venv/bin/python deploy/dashboard.py"
    panels = json.loads(dashboard.text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [panel["gridPos"] for panel in panels]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    cells = [(place["y"] + y, place["x"] + x) for place in places for y in range(place["h"]) for x in range(place["w"])]
    assert len(cells) == len(set(cells)), "panels lie over each other"


def test_alerts_say_what_is_wrong_and_what_to_do() -> None:
    for rule in RULES:
        assert re.fullmatch(r"Misc[A-Z]\w+", rule["alert"])
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"] and rule["annotations"]["action"]
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
