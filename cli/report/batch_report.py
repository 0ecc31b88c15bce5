"""A batch's report as lines of text."""

from collections.abc import Iterator
from typing import Any


def batch_report_lines(report: dict[str, Any]) -> Iterator[str]:
    """One for the whole, one for each figure of quality and each reason of failure; `report` is the API's."""
    batch, images = report["batch"], report["images"]
    states = {state: count for state, count in images.items() if count} | {
        name: count for name, count in (("rejected", batch["rejections"]), ("missing", report["missing"])) if count
    }
    counts = ", ".join(f"{count} {state}" for state, count in states.items()) or "no pictures"
    yield f"{batch['id']}  {batch['name']}: {counts}"
    if report["bpp"] is not None:
        yield (
            f"  {report['bitstream_bytes']} bytes of {report['original_bytes']}, {report['bpp']:.4f} bpp"
            f" ({report['least_bpp']:.4f} to {report['most_bpp']:.4f})"
        )
    for metric, one in report["quality"].items():
        yield f"  {metric} {one['mean']:.4g} (worst {one['worst']:.4g}) of {one['count']} that were verified"
    for failure in report["failures"]:
        names = ", ".join(failure["names"]) + (", ..." if failure["count"] > len(failure["names"]) else "")
        yield f"  {failure['code']} {failure['count']}: {names}"
