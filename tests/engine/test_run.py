"""Running a unit: reuse by key, failures recorded, comparisons marked when the machine is busy, tuning."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from vislab.cards import SEEDS, Arm, CardError, Claim, Paper, Part, metric, resolve
from vislab.engine import run
from vislab.engine.collect import collect, find_artifact
from vislab.engine.outcome import Outcome
from vislab.engine.run import COMPARE, execute, prepare, units
from vislab.engine.tune import best, grid, read_tuning, tune, untuned
from vislab.errors import UserError


@dataclasses.dataclass(frozen=True)
class Config:
    bonus: float = 0.0
    learning_rate: float = 0.1
    fault: str = ""


PAPER = Paper(
    slug="dummy", part="restoration", title="", first_author="", year=2023, summary="", links={}, reported=(),
    metrics=(metric("psnr"), metric("seconds_ratio")),
    arms=(
        Arm("ours", "", "method", {"bonus": 1.0}),
        Arm("rival", "", "baseline"),
        Arm("cut", "", "ablation"),
        Arm("dear", "", "baseline", {}, ("gpu",), "too dear"),
    ),
    claims=(Claim("c1", "s", "r", (Part("difference", "psnr", ("ours", "rival")),)),),
    config=Config, profiles={p: Config() for p in SEEDS}, compares=True,
)  # fmt: skip


class Experiment:
    """A room's experiment without torch's cost."""

    __file__ = str(Path(__file__))
    PREPARE_FIELDS = ("learning_rate",)

    def __init__(self):
        self.calls, self.prepared = 0, 0

    def prepare(self, config, seed, accelerator):
        self.prepared += 1
        return {"base": torch.tensor([float(seed)])}

    def run(self, config, seed, accelerator, shared):
        self.calls += 1
        if config.fault == "raise":
            raise RuntimeError("it broke")
        if config.fault == "user":
            raise UserError("data missing")
        value = float("nan") if config.fault == "nan" else 30 + config.bonus + 0.1 * seed + shared["base"].item()
        return Outcome({"psnr": value}, {"image": torch.zeros(2, 2, 3, dtype=torch.uint8)} if seed == 0 else {})

    def compare(self, config, accelerator, shared):
        return Outcome({"seconds_ratio": 0.5, "seconds_ratio_low": 0.4, "seconds_ratio_high": 0.6})


@pytest.fixture
def experiment(monkeypatch):
    monkeypatch.setattr(run, "idle", lambda: True)
    return Experiment()


def all_units(experiment, profile="tutorial", **kwargs):
    return units(PAPER, experiment, profile, device="cpu", **kwargs)


def test_units_are_judged_arms_by_seed_ablations_once_and_the_comparison(experiment):
    names = [(u.arm, u.seed) for u in all_units(experiment)]
    assert [s for a, s in names if a == "ours"] == [0, 1, 2, 3, 4]
    assert [s for a, s in names if a == "cut"] == [0]
    assert not any(a == "dear" for a, _ in names) and names[-1] == (COMPARE, 0)
    assert {u.arm for u in all_units(experiment, arms=("dear",), seeds=(7,))} == {"dear"}
    with pytest.raises(CardError, match="did you mean 'rival'"):
        all_units(experiment, arms=("rivla",))


def test_a_record_is_reused_and_fresh_runs_again(experiment):
    unit = all_units(experiment)[0]
    first = execute(unit, PAPER, experiment)
    assert execute(unit, PAPER, experiment) == first and experiment.calls == 1
    execute(unit, PAPER, experiment, fresh=True)
    assert experiment.calls == 2


def test_prepared_parts_are_computed_once_a_seed_and_shared_by_arms(experiment):
    found = all_units(experiment)
    for unit in (found[0], found[5], found[1]):
        execute(unit, PAPER, experiment)
    assert experiment.prepared == 2
    assert prepare(found[1], experiment)["base"].item() == 1.0


@pytest.mark.parametrize("fault", ["raise", "nan"])
def test_a_fault_is_recorded_and_run_again_next_time(experiment, fault):
    unit = all_units(experiment, arms=("ours",), seeds=(0,), changes={"fault": fault})[0]
    record = execute(unit, PAPER, experiment)
    assert record.status == "failed" and record.error
    assert execute(unit, PAPER, experiment).status == "failed" and experiment.calls == 2


def test_wrong_input_passes_through(experiment):
    unit = all_units(experiment, arms=("ours",), seeds=(0,), changes={"fault": "user"})[0]
    with pytest.raises(UserError, match="data missing"):
        execute(unit, PAPER, experiment)


def test_a_comparison_on_a_busy_machine_is_unclean_and_measured_again(experiment, monkeypatch):
    unit = all_units(experiment)[-1]
    monkeypatch.setattr(run, "idle", lambda: False)
    assert not execute(unit, PAPER, experiment).clean
    monkeypatch.setattr(run, "idle", lambda: True)
    assert execute(unit, PAPER, experiment).clean


def test_collected_runs_are_judged_when_all_seeds_are_there(experiment):
    found = all_units(experiment)
    for unit in found[:7]:
        execute(unit, PAPER, experiment)
    partial = collect(PAPER, experiment, "tutorial", "cpu")
    assert partial.judged[0].verdict == "not tested here" and len(partial.missing) == len(found) - 7
    for unit in found:
        execute(unit, PAPER, experiment)
    whole = collect(PAPER, experiment, "tutorial", "cpu")
    assert whole.judged[0].verdict == "reproduced" and whole.judged[0].effect == pytest.approx(1.0)
    assert whole.compare["seconds_ratio"] == 0.5
    assert find_artifact(PAPER, "ours", "image", "tutorial").shape == (2, 2, 3)
    assert find_artifact(PAPER, "ours", "nothing", "tutorial") is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bonsu": "1"}, "did you mean 'bonus'"),
        ({"bonus": "much"}, "'bonus' wants float, got 'much'"),
    ],
)
def test_wrong_changes_are_named(changes, message):
    with pytest.raises(CardError, match=message):
        resolve(PAPER, "smoke", "ours", changes)


def test_tuning_keeps_all_trials_and_the_card_must_hold_the_best(experiment, tmp_path, monkeypatch):
    monkeypatch.setenv("VISLAB_RESULTS", str(tmp_path))
    seen = []

    def train(config, seed, accelerator, shared):
        seen.append((config.learning_rate, seed))
        return SimpleNamespace(config=config)

    def evaluate(state, config, seed, split="test"):
        assert split == "validation"
        return {"psnr": -((config.learning_rate - 0.1) ** 2)}

    experiment.evaluate = evaluate
    grids = {"ours": {"learning_rate": (0.01, 0.1, 1.0)}, "rival": {"learning_rate": (0.2, 0.3, 0.4)}}
    tune(PAPER, grids, "psnr", train, experiment, device="cpu")
    assert {s for _, s in seen} == {100} and len(seen) == 6
    content = read_tuning("dummy")
    assert [len(content["arms"][a]["trials"]) for a in grids] == [3, 3]
    assert content["arms"]["ours"]["best"] == {"learning_rate": 0.1}
    assert untuned(PAPER, grids, content) == ["rival: learning_rate is 0.1, its best trial has 0.2"]


def test_grid_is_the_product_and_best_ignores_what_is_not_finite():
    assert len(grid({"a": (1, 2), "b": (1, 2, 3)})) == 6
    trials = [{"score": None, "values": 0}, {"score": 2.0, "values": 1}, {"score": 1.0, "values": 2}]
    assert best(trials, "higher")["values"] == 1 and best(trials, "lower")["values"] == 2
