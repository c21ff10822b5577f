"""Judged numbers of a paper for the figures of its chapter."""

from collections.abc import Sequence
from typing import Any

from vislab import registry
from vislab.viz.sections import find


def recorded(slug: str, profile: str, metric: str) -> dict[str, list[float]]:
    """{arm: values over seeds} of a metric in the judged runs at hand; empty where there are none."""
    found = find(registry.card(slug), profile)
    if found is None:
        return {}
    return {
        arm: values
        for arm, rows in found.arms.items()
        if (values := [v for v in rows.get(metric, ()) if v is not None])
    }


def recorded_rows(slug: str, profile: str, arms: Sequence[str], metrics: Sequence[str]) -> list[list[Any]]:
    """[arm, mean over seeds of each metric] for a table; None where there is no run."""
    found = {metric: recorded(slug, profile, metric) for metric in metrics}
    means = {m: {arm: sum(v) / len(v) for arm, v in values.items()} for m, values in found.items()}
    return [[arm, *(means[m].get(arm) for m in metrics)] for arm in arms]
