"""What a batch shows while it runs, its plan, and parameters that change runs and chapters alike."""

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "faults"))
import dummy

from vislab import registry
from vislab.batch.board import Board, lines
from vislab.batch.plan import plan, split_parameters
from vislab.batch.pool import Result, work, workers
from vislab.cards import CardError
from vislab.engine import run

SLUG = registry.slugs()[0]


@pytest.fixture
def units(monkeypatch):
    for holder, name in ((registry, "module"), (registry, "room"), (registry, "card"), (run, "make_accelerator")):
        monkeypatch.setattr(holder, name, getattr(holder, name))
    dummy.install()
    return dummy.units(2)


def shown(board):
    console = Console(file=io.StringIO(), width=120)
    console.print(board)
    return console.file.getvalue()


def test_the_board_counts_and_names_what_runs(units):
    board = Board(dict.fromkeys(units, 60.0), 2)
    assert "0 done, 0 failed, 4 waiting" in shown(board) and "about 2.0 min left" in shown(board)
    board.begun(units[0])
    board.begun(units[1])
    text = shown(board)
    assert "2 waiting" in text and units[0].name in text and units[2].name not in text
    board.ended(Result(units[0], work(units[0])))
    board.ended(Result(units[1], None, "no data", refused=True))
    assert "1 done, 1 failed, 2 waiting" in shown(board) and "about 1.0 min left" in shown(board)


def test_lines_of_a_failed_run_name_its_log(units, monkeypatch):
    monkeypatch.setitem(dummy.FAULTS, 0, "raise")
    failed = lines(Result(units[0], work(units[0])))
    assert failed[0].startswith(f"{units[0].name}: failed") and any("wrong from the start" in line for line in failed)
    assert failed[-1].endswith(".log")
    assert lines(Result(units[1], None)) == [f"{units[1].name}: not started"]


def test_parameters_are_the_chapters_or_config_fields():
    own, changes = split_parameters((SLUG,), {"seed": "3", "device": "cpu", "steps": "7"})
    assert own == {"seed": "3", "device": "cpu"} and changes == {SLUG: {"steps": 7}}
    with pytest.raises(
        CardError, match=r"unknown parameter 'stesp'; did you mean 'steps'.* Known: profile, seed, device, .*steps"
    ):
        split_parameters((SLUG,), {"stesp": "7"})
    with pytest.raises(CardError, match="wants int"):
        split_parameters((SLUG,), {"steps": "many"})
    with pytest.raises(CardError, match="'seed' wants an integer"):
        split_parameters((SLUG,), {"seed": "x"})


def test_a_parameter_enters_the_key_of_its_record(units):
    keys = {u.key for u in units}
    changed = {
        p.unit.key for p in plan(("dummy",), "smoke", seeds=(0, 1), changes={"dummy": {"steps": 9}}, device="cpu")
    }
    assert len(changed) == 4 and not keys & changed


def test_workers_follow_cores_and_memory(monkeypatch):
    from vislab.batch import pool

    monkeypatch.setattr(pool.os, "sched_getaffinity", lambda _: set(range(8)))
    memory = type("Memory", (), {"available": 5 * pool.RUN_BYTES})
    monkeypatch.setattr(pool.psutil, "virtual_memory", lambda: memory)
    assert workers() == 5 and workers(3) == 3
    memory.available = 100 * pool.RUN_BYTES
    assert workers() == 8
    memory.available = 0
    assert workers() == 1
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert workers(cuda=True) == 2 and workers(cuda=True, per_gpu=3) == 6 and workers(4, cuda=True, per_gpu=3) == 4
