"""The zoo: every shipped member reaches its recorded metrics; missing, damaged and foreign weights are told apart."""

import json
import subprocess
import sys

import pytest
import torch

from vislab import registry, zoo
from vislab.cards import CardError
from vislab.engine.weights import weights_hashes, weights_path, zoo_folder
from vislab.errors import UserError

LIMIT = 8_000_000
NAMES = registry.zoo_names()


@pytest.mark.parametrize("name", NAMES)
def test_weights_reach_what_their_header_says(name):
    for metric, (recorded, measured, near) in zoo.check(name).items():
        assert near, f"{metric}: {recorded} recorded, {measured} measured"


@pytest.mark.parametrize("name", NAMES)
def test_header_holds_the_recipe(name):
    state, header = zoo.read(name)
    assert header["recipe"] == json.loads(json.dumps(dict(zoo.member(name).recipe)))
    assert header["version"] == zoo.member(name).version
    assert all(value.dtype == torch.float16 for value in state.values() if value.is_floating_point())


def test_all_weights_stay_within_the_limit():
    assert sum(path.stat().st_size for path in zoo_folder().glob("*")) <= LIMIT


@pytest.mark.parametrize("name", NAMES)
def test_loaded_network_is_ready(name):
    network = zoo.load(name)
    assert not network.training and not any(p.requires_grad for p in network.parameters())


def test_an_unknown_member_suggests_the_nearest():
    with pytest.raises(CardError, match="did you mean 'clip'"):
        zoo.load("clap")


def test_missing_and_damaged_weights(tmp_path, monkeypatch):
    good = weights_path("clip").read_bytes()
    monkeypatch.setenv("VISLAB_ZOO", str(tmp_path))
    with pytest.raises(UserError, match="vislab zoo train clip"):
        zoo.load("clip")
    with pytest.raises(UserError, match="vislab zoo train clip"):
        weights_hashes(["clip"])
    weights_path("clip").write_bytes(good[: len(good) // 2])
    with pytest.raises(UserError, match="damaged"):
        zoo.load("clip")


def test_hash_follows_the_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("VISLAB_ZOO", str(tmp_path))
    weights_path("clip").write_bytes(b"one")
    first = weights_hashes(["clip"])
    weights_path("clip").write_bytes(b"another")
    assert weights_hashes(["clip"]) != first


def test_a_real_network_that_cannot_be_had(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(UserError, match="cannot be had"):
        zoo.load("clip", source="ViT-B-16/no-such-weights")


def test_command_line():
    def vislab(*words):
        return subprocess.run(
            [sys.executable, "-m", "vislab", "zoo", *words], capture_output=True, text=True, check=False
        )

    rows = json.loads(vislab("list", "--json").stdout)
    assert [row["name"] for row in rows] == list(NAMES) and all(row["bytes"] for row in rows)
    wrong = vislab("train", "clop")
    assert wrong.returncode == 2 and "did you mean 'clip'" in wrong.stderr and "Traceback" not in wrong.stderr
