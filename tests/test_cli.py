"""The command line as a user meets it: output, exit codes, errors without a traceback."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from vislab import registry
from vislab.cli import parse_changes, parse_seeds
from vislab.errors import UserError

SLUG = "balpoe"


def vislab(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "vislab", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def refused(done, *words, code=2):
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr, done.stderr
    return done


def test_papers_lists_every_room():
    done = vislab("papers", "--json")
    assert done.returncode == 0
    assert {row["slug"] for row in json.loads(done.stdout)} == set(registry.slugs())
    part = json.loads(vislab("papers", "--part", "recognition", "--json").stdout)
    assert {row["part"] for row in part} == {"recognition"}


def test_count_and_show_as_json():
    numbers = json.loads(vislab("count", SLUG, "--json").stdout)
    assert set(numbers) == {"slug", "profile", "parameters", "reported"}
    assert numbers["parameters"] == pytest.approx(numbers["reported"], rel=0.02)
    shown = json.loads(vislab("show", SLUG, "--json").stdout)
    assert shown["slug"] == SLUG and shown["arms"] and shown["claims"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "balpo"), ("unknown paper 'balpo'", "did you mean 'balpoe'")),
        (("papers", "--part", "recogniton"), ("unknown part", "did you mean 'recognition'")),
        (("run", SLUG, "--profile", "smok"), ("unknown profile 'smok'", "did you mean 'smoke'")),
        (("run", SLUG, "--profile", "smoke", "--arms", "nothing_like_it"), ("unknown arm",)),
        (("run", SLUG, "--profile", "smoke", "--set", "stesp=3"), ("unknown config field", "did you mean 'steps'")),
        (("run", SLUG, "--profile", "smoke", "--set", "steps=many"), ("'steps' wants int, got 'many'",)),
        (("run", SLUG, "--profile", "smoke", "--set", "steps"), ("--set wants field=value",)),
        (("run", SLUG, "--profile", "smoke", "--seeds", "4-x"), ("are not integers or ranges",)),
        (("run", SLUG, "--profile", "smoke", "--device", "tpu"), ("unknown device 'tpu'",)),
        (("reproduce",), ("name at least one paper",)),
        (("book", "nothing"), ("unknown paper 'nothing'",)),
        (("nonsense",), ("No such command",)),
    ],
)
def test_wrong_input_is_named_with_exit_code_2(arguments, words):
    refused(vislab(*arguments), *words)


@pytest.mark.skipif("__import__('torch').cuda.is_available()", reason="there is a CUDA device")
def test_cuda_is_refused_where_there_is_none():
    refused(vislab("run", SLUG, "--profile", "smoke", "--device", "cuda"), "torch finds no CUDA device")


def test_a_missing_data_set_names_folder_layout_and_page(tmp_path):
    data = tmp_path / "data"
    done = vislab("run", SLUG, "--profile", "paper", VISLAB_DATA=str(data))
    dataset = registry.card(SLUG).datasets[0]
    refused(done, str(data), "Expected layout", dataset.page)


def test_the_traceback_is_shown_with_debug():
    done = vislab("show", "balpo", "--debug")
    assert done.returncode == 2 and "Traceback" in done.stderr


def first_arm():
    return registry.card(SLUG).arms[0].name


def test_run_prints_json_reuses_its_record_and_refuses_a_damaged_one(tmp_path):
    runs = tmp_path / "runs"
    command = ("run", SLUG, "--profile", "smoke", "--arms", first_arm(), "--json")
    done = vislab(*command, VISLAB_RUNS=str(runs))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    values = found["arms"][first_arm()]
    assert found["slug"] == SLUG and all(len(v) == 1 for v in values.values())
    record = next(runs.glob("*/*.json"))
    before = record.stat().st_mtime_ns
    assert json.loads(vislab(*command, VISLAB_RUNS=str(runs)).stdout) == found
    assert record.stat().st_mtime_ns == before
    record.write_text(record.read_text()[:100])
    refused(vislab(*command, VISLAB_RUNS=str(runs)), str(record), "is damaged", "delete it")
    assert len(record.read_text()) == 100


def test_a_read_only_runs_folder_is_named(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    done = vislab("run", SLUG, "--profile", "smoke", "--arms", first_arm(), VISLAB_RUNS=str(blocked / "runs"))
    refused(done, "cannot write", str(blocked))


def test_interrupt_gives_130_and_the_rest_resumes(tmp_path):
    runs = tmp_path / "runs"
    environment = {**os.environ, "VISLAB_RUNS": str(runs)}
    # runs of some seconds each, so that there is time to interrupt on a busy machine
    command = ("run", SLUG, "--profile", "smoke", "--arms", "balpoe,bs,ce,sade", "--set", "steps=150", "--jobs", "1")
    process = subprocess.Popen(
        [sys.executable, "-m", "vislab", *command],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list(runs.glob("*/*.json")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors and "interrupted" in errors
    kept = {p.name: p.stat().st_mtime_ns for p in runs.glob("*/*.json")}
    assert 0 < len(kept) < 4
    done = vislab(*command, VISLAB_RUNS=str(runs))
    assert done.returncode == 0, done.stderr
    after = {p.name: p.stat().st_mtime_ns for p in runs.glob("*/*.json")}
    assert len(after) == 4 and kept.items() <= after.items()


def test_seeds_and_changes_are_parsed():
    assert parse_seeds("0-4") == (0, 1, 2, 3, 4)
    assert parse_seeds("7,-3, 2-3") == (7, -3, 2, 3)
    assert parse_seeds("-2--1") == (-2, -1)
    assert parse_seeds(None) is None
    for wrong in ("", "1-", "a", "1.5", "4-2"):
        with pytest.raises(UserError):
            parse_seeds(wrong)
    assert parse_changes(["a=1", "b=x=y"]) == {"a": "1", "b": "x=y"}
