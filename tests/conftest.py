"""Shared by all tests: one thread, no records of the user's, core-seconds charged to papers, the projection to 100 papers."""

import os
import re
import resource
from collections import defaultdict

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest

from vislab import registry

PAPERS = 100
CORES = 2
LIMIT_MINUTES = 60
FIXED_MINUTES = 10


def _cpu() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _slug(item) -> str:
    """The paper a test is charged to: its marker, its parameter, or its file's name; "" for the house."""
    marker = item.get_closest_marker("paper")
    if marker:
        return marker.args[0]
    slug = getattr(getattr(item, "callspec", None), "params", {}).get("slug")
    if slug in registry.places():
        return slug
    name = re.sub(r"^test_", "", item.path.stem)
    return name if name in registry.places() else ""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item, nextitem):
    item.user_properties.append(("slug", _slug(item)))
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    before = item.stash.get(_last, _cpu())
    now = _cpu()
    item.stash[_last] = now
    # a kernel that nobody waits for is missing from the children's time: there the wall clock counts, one core busy
    spent = max(now - before, call.duration) if item.path.parent.name == "chapters" else now - before
    report.user_properties = [*report.user_properties, ("core_seconds", spent)]
    return report


_last = pytest.StashKey[float]()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    item.stash[_last] = _cpu()


_times: dict[str, float] = defaultdict(float)


def pytest_runtest_logreport(report):
    properties = dict(report.user_properties)
    if hasattr(report, "node") or "PYTEST_XDIST_WORKER" not in os.environ:
        _times[properties.get("slug", "")] += properties.get("core_seconds", 0.0)


def _projection() -> float:
    """Minutes that `make test` would take with 100 papers on 2 cores."""
    by_paper = [seconds for slug, seconds in _times.items() if slug]
    mean = sum(by_paper) / len(by_paper) if by_paper else 0.0
    return (_times[""] + PAPERS * mean) / CORES / 60


def pytest_terminal_summary(terminalreporter, config):
    if not _times or config.getoption("keyword") or config.getoption("collectonly"):
        return
    terminalreporter.section("core-seconds by paper")
    for slug, seconds in sorted(_times.items(), key=lambda item: -item[1]):
        terminalreporter.write_line(f"{slug or '(the house)':24s} {seconds:8.1f}")
    terminalreporter.write_line(f"projected to {PAPERS} papers on {CORES} cores: {_projection():.1f} minutes")


def pytest_sessionfinish(session, exitstatus):
    on_worker = hasattr(session.config, "workerinput")
    if not on_worker and exitstatus == 0 and _projection() > LIMIT_MINUTES:
        session.exitstatus = 1
        print(f"\nthe projection of {_projection():.1f} minutes is over the {LIMIT_MINUTES} allowed")


@pytest.fixture(autouse=True)
def own_runs(tmp_path, monkeypatch):
    """Every test has an empty folder of working records."""
    monkeypatch.setenv("VISLAB_RUNS", str(tmp_path / "runs"))


@pytest.fixture(scope="session")
def cpu():
    """A CPU accelerator."""
    from vislab.engine.device import accelerator

    return accelerator("cpu")
