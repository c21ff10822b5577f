"""Killing the writer of records at random moments: nothing is corrupt, and a second run completes the set."""

import json
import os
import random
import signal
import subprocess
import sys
import time

TRIALS = 50
RECORDS = 40

WRITER = """
import sys
from vislab.engine.records import Record, find_record, record_key, write_record
from dataclasses import dataclass

@dataclass(frozen=True)
class Config:
    steps: int = 1

print("ready", flush=True)
for seed in range({records}):
    key = record_key("dummy", "arm", Config(), seed, "cpu", "code")
    if find_record("dummy", key) is None:
        write_record(Record(
            key=key, slug="dummy", profile="smoke", arm="arm", seed=seed, config={{"steps": 1}}, device="cpu",
            device_name="x", precision="no", threads=1, code_hash="code", versions={{}}, status="done",
            metrics={{"psnr": float(seed), "text": 1.0}}, seconds=1.0, finished=float(seed)))
assert "torch" not in sys.modules
"""


def start(folder):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER.format(records=RECORDS)],
        env={**os.environ, "VISLAB_RUNS": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
    )


def contents(folder):
    return {path.name: json.loads(path.read_text()) for path in (folder / "dummy").glob("*.json")}


def test_kill_9_at_random_moments_of_writing(tmp_path):
    whole = start(tmp_path / "undisturbed")
    whole.stdout.readline()
    writing = time.monotonic()
    assert whole.wait() == 0
    latest = time.monotonic() - writing
    expected = contents(tmp_path / "undisturbed")
    assert len(expected) == RECORDS
    dice = random.Random(0)
    cut = 0
    runs = tmp_path / "killed"
    for trial in range(TRIALS):
        folder = runs / str(trial // 5)
        process = start(folder)
        process.stdout.readline()
        time.sleep(dice.uniform(0, latest))
        process.send_signal(signal.SIGKILL)
        process.wait()
        found = contents(folder)
        # the writer's pace depends on what else the machine does: the moments follow it
        latest *= 1.2 if len(found) < RECORDS else 0.5
        cut += len(found) < RECORDS
        assert all(expected[name] == value for name, value in found.items())
    assert cut > TRIALS // 4, "most trials ended before they were killed: they tested nothing"
    for folder in runs.iterdir():
        assert start(folder).wait() == 0
        assert contents(folder) == expected
