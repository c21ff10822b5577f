"""Batches under fire: parent and workers killed at random, two batches at once, a full disk; the records come out the same."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

SCRIPT = Path(__file__).with_name("dummy.py")
SEEDS = 12
UNITS = 2 * SEEDS


def start(folder, jobs=2, delay=15, **environment):
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), str(SEEDS), str(jobs), str(delay)],
        env={**os.environ, "VISLAB_RUNS": str(folder), "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def records(folder):
    """{(arm, seed): (metrics, status)}; a corrupt or a double record fails here."""
    found = {}
    for path in (folder / "dummy").glob("*.json"):
        content = json.loads(path.read_text())
        place = (content["arm"], content["seed"])
        assert place not in found, f"two records of {place}"
        found[place] = (content["metrics"], content["status"])
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    process = start(folder)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert f"all {UNITS}" in output
    return records(folder)


def finish(folder):
    process = start(folder)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors


def kill_tree(pid):
    for process in [*psutil.Process(pid).children(recursive=True), psutil.Process(pid)]:
        process.kill()


@pytest.mark.parametrize("trial", range(6))
def test_killing_the_parent(trial, undisturbed, tmp_path):
    """kill -9 of the parent, and of the workers it leaves behind, after a random number of runs."""
    process = start(tmp_path)
    for _ in range(random.Random(trial).randrange(1, UNITS - 2)):
        process.stdout.readline()
    kill_tree(process.pid)
    process.wait(timeout=20)
    kept = records(tmp_path)
    assert all(undisturbed[place] == value for place, value in kept.items())
    finish(tmp_path)
    assert records(tmp_path) == undisturbed


@pytest.mark.parametrize("trial", range(4))
def test_killing_a_worker(trial, undisturbed, tmp_path):
    """kill -9 of one worker in the middle of a run costs that run a retry and nothing else."""
    process = start(tmp_path, delay=60)
    for _ in range(random.Random(trial).randrange(2, 10)):
        process.stdout.readline()
    busy = []
    while not busy and process.poll() is None:
        busy = [int(p.name.removeprefix("busy-")) for p in tmp_path.glob("busy-*")]
    os.kill(random.Random(trial).choice(busy), signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert records(tmp_path) == undisturbed


def test_two_batches_at_once_share_the_work(undisturbed, tmp_path):
    """Both end well, and no run is done twice: the second finds the first one's record behind the lock."""
    first, second = start(tmp_path, delay=30), start(tmp_path, delay=30)
    for process in (first, second):
        _, errors = process.communicate(timeout=90)
        assert process.returncode == 0, errors
    assert records(tmp_path) == undisturbed
    finished = [json.loads(p.read_text())["finished"] for p in (tmp_path / "dummy").glob("*.json")]
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "dummy").glob("*.json")}
    finish(tmp_path)
    assert before == {p.name: p.stat().st_mtime_ns for p in (tmp_path / "dummy").glob("*.json")}
    assert len(finished) == UNITS


@pytest.mark.skipif(os.geteuid() != 0 and not Path("/dev/full").exists(), reason="no full device")
def test_a_full_disk_is_named_and_loses_nothing(tmp_path, monkeypatch):
    from vislab.engine import files
    from vislab.errors import UserError

    good = tmp_path / "record.json"
    files.write_atomically(good, b"kept")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        files.write_atomically(good, b"new")
    assert good.read_bytes() == b"kept" and [p.name for p in tmp_path.iterdir()] == ["record.json"]


def test_a_hanging_run_is_given_up_alone(tmp_path, monkeypatch):
    """With a time limit the slow runs fail by themselves, and say why."""
    code = (
        f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r}); import dummy; dummy.install(5.0)\n"
        "from vislab.batch.pool import run_all\n"
        "results = run_all(dummy.units(1), 2, run_timeout=0.5)\n"
        "print([(r.record.status, r.record.error) for r in results])"
    )
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "VISLAB_RUNS": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("failed") == 2 and "time limit" in done.stdout
    assert time.monotonic() - begin < 30


def test_what_goes_wrong_stays_with_its_run(tmp_path):
    """A segmentation fault and a broken CUDA context are tried again, alone; an exception is recorded, wrong input is not."""
    code = (
        f"import sys, json; sys.path.insert(0, {str(SCRIPT.parent)!r}); import dummy; dummy.install()\n"
        "dummy.FAULTS.update({0: 'segfault', 1: 'cuda', 2: 'raise', 3: 'refuse'})\n"
        "from vislab.batch.pool import last_lines, run_all\n"
        "units = [u for u in dummy.units(5) if u.arm == 'one']\n"
        "results = {r.unit.seed: r for r in run_all(units, 2)}\n"
        "print(json.dumps({s: [r.record and r.record.status, r.error or (r.record and r.record.error), r.refused, last_lines(r.unit, 30)]"
        " for s, r in results.items()}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "VISLAB_RUNS": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {k: v[0] for k, v in found.items()} == {"0": "done", "1": "done", "2": "failed", "3": None, "4": "done"}
    assert (tmp_path / "segfault-happened").exists() and (tmp_path / "cuda-happened").exists()
    assert "ValueError: wrong from the start" in found["2"][1] and "about to go wrong" in found["2"][3]
    assert found["3"][1:3] == ["the data set is missing", True]
    assert len(list((tmp_path / "dummy").glob("*.json"))) == 4
    assert "about to go wrong" not in done.stderr


def test_interrupt_stops_the_workers(tmp_path):
    process = start(tmp_path, delay=200)
    process.stdout.readline()
    process.stdout.readline()
    workers = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=30)
    psutil.wait_procs(workers, timeout=10)
    assert not any(w.is_running() and w.status() != psutil.STATUS_ZOMBIE for w in workers)
