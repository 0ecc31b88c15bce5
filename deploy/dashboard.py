"""Writes `deploy/monitoring/dashboard.json`, the Grafana dashboard, from the panels below.

Run as `.venv/bin/python deploy/dashboard.py` after a change here.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATH = Path(__file__).with_name("monitoring") / "dashboard.json"

_COLUMNS, _PANEL_WIDTH, _PANEL_HEIGHT = 24, 8, 8
_SOURCE = {"type": "prometheus", "uid": "${source}"}


@dataclass(frozen=True)
class Panel:
    """One chart: its title, the unit of its axis as Grafana calls it, and its lines as (legend, PromQL)."""

    title: str
    unit: str
    lines: tuple[tuple[str, str], ...]


ROWS: dict[str, tuple[Panel, ...]] = {
    "Queues and workers": (
        Panel("Jobs that wait", "short", (("{{queue}}", 'max by (queue) (misc_jobs_open{state="queued"})'),)),
        Panel(
            "Jobs that wait, by priority",
            "short",
            (("{{queue}} {{priority}}", "max by (queue, priority) (misc_jobs_due)"),),
        ),
        Panel("Jobs that run", "short", (("{{queue}}", 'max by (queue) (misc_jobs_open{state="running"})'),)),
        Panel("Oldest job that waits", "s", (("{{queue}}", "max by (queue) (misc_jobs_oldest_due_seconds)"),)),
        Panel("Workers", "short", (("{{queue}} {{state}}", "max by (queue, state) (misc_workers)"),)),
        Panel("Attempts under way", "short", (("{{instance}}", "misc_attempts_in_progress"),)),
        Panel("Wake-ups not sent", "short", (("wake-ups", "max(misc_outbox_rows)"),)),
    ),
    "Jobs": (
        Panel(
            "Attempts by outcome",
            "ops",
            (("{{kind}} {{outcome}}", "sum by (kind, outcome) (rate(misc_attempts_total[5m]))"),),
        ),
        Panel(
            "Errors by code",
            "ops",
            (("{{code}}", 'sum by (code) (rate(misc_attempts_total{code!=""}[5m]))'),),
        ),
        Panel("Jobs that stand as failed", "short", (("{{code}}", "max by (code) (misc_jobs_failed)"),)),
        Panel(
            "Seconds of a job, median and 95 %",
            "s",
            tuple(
                (
                    f"{{{{kind}}}} {share:.0%}",
                    f"histogram_quantile({share}, sum by (kind, le) "
                    '(rate(misc_stage_seconds_bucket{stage="job"}[10m])))',
                )
                for share in (0.5, 0.95)
            ),
        ),
        Panel(
            "Seconds of stages, mean",
            "s",
            (
                (
                    "{{kind}} {{stage}}",
                    'sum by (kind, stage) (rate(misc_stage_seconds_sum{stage!~"job|total"}[10m])) '
                    '/ sum by (kind, stage) (rate(misc_stage_seconds_count{stage!~"job|total"}[10m]))',
                ),
            ),
        ),
        Panel(
            "Bytes read and stored",
            "Bps",
            (("{{kind}} {{direction}}", "sum by (kind, direction) (rate(misc_job_bytes_total[5m]))"),),
        ),
    ),
    "Decode engine": (
        Panel(
            "Seconds of a step, 95 %",
            "s",
            (
                (
                    "{{instance}}",
                    "histogram_quantile(0.95, sum by (instance, le) (rate(misc_engine_step_seconds_bucket[5m])))",
                ),
            ),
        ),
        Panel(
            "Requests that share a step, mean",
            "short",
            (
                (
                    "{{instance}}",
                    "sum by (instance) (rate(misc_engine_step_requests_sum[5m])) "
                    "/ sum by (instance) (rate(misc_engine_step_requests_count[5m]))",
                ),
            ),
        ),
        Panel("Pixels evaluated", "ops", (("{{instance}}", "sum by (instance) (rate(misc_engine_pixels_total[5m]))"),)),
    ),
    "Language model and storage": (
        Panel(
            "Tokens",
            "ops",
            (("{{model}} {{direction}}", "sum by (model, direction) (rate(misc_model_tokens_total[5m]))"),),
        ),
        Panel(
            "Money",
            "short",
            (
                ("{{model}}, last hour", "sum by (model) (increase(misc_model_cost_total[1h]))"),
                ("{{period}}, under the cap", "max by (period) (misc_spending)"),
            ),
        ),
        Panel("Bytes in storage", "bytes", (("{{kind}}", "max by (kind) (misc_stored_bytes)"),)),
        Panel("Objects in storage", "short", (("{{kind}}", "max by (kind) (misc_stored_objects)"),)),
        Panel("Streams and records in packs", "short", (("{{state}}", "max by (state) (misc_pack_members)"),)),
        Panel("Bytes in packs", "bytes", (("{{state}}", "max by (state) (misc_pack_bytes)"),)),
        Panel("Damaged objects", "short", (("damaged", "max(misc_damaged_objects)"),)),
        Panel("Networks missing", "short", (("missing", "max(misc_missing_networks)"),)),
        Panel("Deleted, held by a lock", "short", (("held", "max(misc_retained_objects)"),)),
        Panel("Objects verified", "ops", (("{{outcome}}", "sum by (outcome) (rate(misc_verifications_total[1h]))"),)),
        Panel("Longest not verified", "s", (("oldest", "max(misc_oldest_verification_seconds)"),)),
        Panel("Database answers", "short", (("{{instance}}", "misc_database_up"),)),
    ),
    "API": (
        Panel("Answers", "reqps", (("{{status}}", "sum by (status) (rate(misc_http_requests_total[5m]))"),)),
        Panel(
            "Time to the answer, 95 %",
            "s",
            (
                (
                    "{{route}}",
                    "histogram_quantile(0.95, sum by (route, le) (rate(misc_http_request_seconds_bucket[5m])))",
                ),
            ),
        ),
        Panel("Requests under way", "short", (("{{instance}}", "misc_http_requests_in_progress"),)),
    ),
}


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS.items():
        panels.append(_placed({"type": "row", "title": title, "collapsed": False, "panels": []}, 0, top, _COLUMNS, 1))
        top += 1
        for number, panel in enumerate(row):
            left = number * _PANEL_WIDTH % _COLUMNS
            line = number * _PANEL_WIDTH // _COLUMNS
            panels.append(_placed(_chart(panel), left, top + line * _PANEL_HEIGHT, _PANEL_WIDTH, _PANEL_HEIGHT))
        top += -(-len(row) * _PANEL_WIDTH // _COLUMNS) * _PANEL_HEIGHT
    for number, placed in enumerate(panels, 1):
        placed["id"] = number
    source = {"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    return {
        "uid": "misc-archive",
        "title": "MISC archive",
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [source]},
        "panels": panels,
    }


def text() -> str:
    """The file's content."""
    return json.dumps(dashboard(), indent=1) + "\n"


def _chart(panel: Panel) -> dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + number), "datasource": _SOURCE, "expr": query, "legendFormat": legend}
        for number, (legend, query) in enumerate(panel.lines)
    ]
    return {
        "type": "timeseries",
        "title": panel.title,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": targets,
    }


def _placed(panel: dict[str, Any], left: int, top: int, width: int, height: int) -> dict[str, Any]:
    return panel | {"gridPos": {"x": left, "y": top, "w": width, "h": height}}


if __name__ == "__main__":
    PATH.write_text(text())
    sys.exit(0)
