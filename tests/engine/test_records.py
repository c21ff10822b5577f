"""Records: the key, atomic writing, reuse, damage reported and kept."""

import dataclasses
import errno
import math
import os

import pytest
import torch

from vislab.engine import files, records
from vislab.engine.records import (
    Record,
    find_record,
    read_published,
    read_record,
    read_tensors,
    record_key,
    record_path,
    runs_folder,
    write_record,
    write_tensors,
)
from vislab.errors import UserError


@dataclasses.dataclass(frozen=True)
class Config:
    steps: int = 3
    sizes: tuple[int, ...] = (1, 2)


def key(**changes):
    base = {"slug": "p", "arm": "a", "config": Config(), "seed": 0, "device": "cpu", "code_hash": "c"}
    return record_key(**(base | changes))


def record(**changes):
    base = {
        "key": key(),
        "slug": "p",
        "profile": "smoke",
        "arm": "a",
        "seed": 0,
        "config": {"steps": 3},
        "device": "cpu",
        "device_name": "x",
        "precision": "no",
        "threads": 1,
        "code_hash": "c",
        "versions": {},
        "status": "done",
        "metrics": {"psnr": 30.25},
        "seconds": 1.0,
        "finished": 2.0,
    }
    return Record(**(base | changes))


def test_the_key_depends_on_everything_that_decides_the_numbers():
    changes = [
        {"slug": "q"}, {"arm": "b"}, {"config": Config(steps=4)}, {"seed": 1}, {"device": "cuda"}, {"code_hash": "d"},
        {"precision": "bf16"}, {"thread_count": 7}, {"zoo": {"clip": "1"}},
    ]  # fmt: skip
    keys = {key(), *(key(**c) for c in changes)}
    assert len(keys) == len(changes) + 1
    assert key() == key(config=Config(sizes=(1, 2)))


def test_a_record_is_read_back_as_it_was_written():
    write_record(record())
    assert find_record("p", key()) == record()
    assert find_record("p", key(seed=1)) is None
    assert [p.suffix for p in (runs_folder() / "p").iterdir()] == [".json"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_non_finite_metrics_make_the_run_failed(value):
    write_record(record(metrics={"psnr": value, "ssim": 0.5}))
    found = find_record("p", key())
    assert found.status == "failed" and found.metrics == {"psnr": None, "ssim": 0.5} and "psnr" in found.error


@pytest.mark.parametrize(
    "damage", [lambda t: t[: len(t) // 2], lambda t: "", lambda t: t.replace('"seed":0', '"seed":"x"')]
)
def test_a_damaged_record_names_itself_and_stays(damage):
    path = write_record(record())
    broken = damage(path.read_text())
    path.write_text(broken)
    with pytest.raises(UserError, match=f"record {path} is damaged"):
        read_record(path)
    assert path.read_text() == broken


def test_a_full_disk_loses_nothing(monkeypatch):
    write_record(record())

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(UserError, match="No space left on device; nothing already"):
        patch.setattr(os, "fsync", full)
        write_record(record(metrics={"psnr": 1.0}))
    assert find_record("p", key()) == record()
    assert [p.suffix for p in record_path("p", key()).parent.iterdir()] == [".json"]


def test_interrupted_writing_leaves_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "file"
    files.write_atomically(path, b"old")

    def stop(source, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"


def test_tensors_round_trip_and_damage(tmp_path):
    path = tmp_path / "a.safetensors"
    value = {"image": torch.arange(12, dtype=torch.uint8).reshape(2, 2, 3)}
    write_tensors(path, value)
    assert torch.equal(read_tensors(path)["image"], value["image"])
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(UserError, match=r"a\.safetensors cannot be read"):
        read_tensors(path)


def test_a_damaged_published_record_names_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("VISLAB_RESULTS", str(tmp_path))
    assert read_published("tutorial", "p") is None
    path = records.published_path("tutorial", "p")
    path.parent.mkdir(parents=True)
    path.write_text('{"slug": "p"')
    with pytest.raises(UserError, match=f"published record {path} is damaged"):
        read_published("tutorial", "p")
