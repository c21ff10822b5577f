"""What must hold for every paper of the registry: card, room, network, training, randomness, checkpoints."""

import ast
import dataclasses
import math
import random
import subprocess
import sys
import typing
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch.utils._python_dispatch import TorchDispatchMode

from vislab import registry
from vislab.cards import METRICS, PARTS, PROFILES, SEEDS, claims_hash, resolve
from vislab.engine.fit import load_checkpoint, save_checkpoint
from vislab.engine.outcome import Outcome
from vislab.engine.records import read_published
from vislab.engine.run import COMPARE, execute, method, units
from vislab.engine.tune import read_tuning, untuned
from vislab.ops import counter

ROOT = Path(__file__).resolve().parents[2]
SLUGS = registry.slugs()
TRAINED = tuple(s for s in SLUGS if registry.card(s).trains)
RESERVED = {
    "image_size": int,
    "width": int,
    "depth": int,
    "steps": int,
    "batch_size": int,
    "learning_rate": float,
    "weight_decay": float,
    "warmup_steps": int,
    "grad_clip": float,
    "ema_decay": float,
    "train_items": int,
    "validation_items": int,
    "test_items": int,
    "eval_batch_size": int,
}
BANNED = ("lr", "n_steps", "iters", "res", "bs", "wd")

each = pytest.mark.parametrize("slug", SLUGS)
each_trained = pytest.mark.parametrize("slug", TRAINED)


def config_of(slug, profile="smoke"):
    card = registry.card(slug)
    return resolve(card, profile, method(card))


def begin(slug, cpu, config=None, seed=0):
    """A fresh state and one fixed training batch at smoke scale."""
    config = config or config_of(slug)
    experiment = registry.module(slug, "experiment")
    shared = experiment.prepare(config, seed, cpu) if hasattr(experiment, "prepare") else None
    state = registry.module(slug, "train").begin(config, seed, cpu, shared)
    items = registry.module(slug, "data").batch(config, "train", seed, torch.arange(config.batch_size), cpu.device)
    return state, items


def test_cards_import_no_torch():
    code = (
        "import sys; from vislab import registry; cards = [registry.card(s) for s in registry.slugs()];"
        "bad = [m for m in ('torch', 'numpy', 'matplotlib', 'pydantic') if m in sys.modules]; print(bad); sys.exit(bool(bad))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@each
def test_card_is_whole(slug):
    card = registry.card(slug)
    room = registry.module(slug, "card")
    assert card.slug == slug and card.part == registry.places()[slug] and card.part in PARTS
    assert card.summary and card.title and card.claims and card.links
    assert [a.role for a in card.arms].count("method") >= 1
    names = [a.name for a in card.arms]
    assert len(set(names)) == len(names) and COMPARE not in names
    assert set(card.profiles) == set(PROFILES)
    metrics = {m.name for m in card.metrics}
    for metric in card.metrics:
        assert any(metric.name == base or metric.name.startswith(base + "_") for base in METRICS), metric.name
    for arm in card.arms:
        assert set(arm.profiles) <= set(PROFILES) and "paper" in arm.profiles + PROFILES
        assert arm.profiles == PROFILES or arm.why, f"{arm.name} says not why it is left out"
        for profile in PROFILES:
            resolve(card, profile, arm.name)
    for claim in card.claims:
        assert claim.parts and claim.statement and claim.reported
        for part in claim.parts:
            assert part.metric in metrics, f"{claim.id}: {part.metric} is not a metric of the card"
            assert part.arms == (COMPARE,) or set(part.arms) <= set(names), f"{claim.id}: {part.arms}"
            assert part.kind not in ("noninferior", "equivalent") or part.margin is not None
            assert part.kind != "trend" or len(part.x) == len(part.arms) >= 3
            assert part.kind != "matched" or part.at is not None
    assert set(room.TUNING) == {a for a in card.judged() if "tutorial" in card.arm(a).profiles}, (
        "TUNING names the judged arms"
    )
    sizes = {math.prod(len(v) for v in fields.values()) for fields in room.TUNING.values()}
    assert len(sizes) == 1, f"grids of unequal size: {sizes}"
    assert all("learning_rate" in fields for fields in room.TUNING.values())


@each
def test_config_is_flat_and_documented(slug):
    card = registry.card(slug)
    hints = typing.get_type_hints(card.config)
    fields = {f.name for f in dataclasses.fields(card.config)}
    assert not fields & set(BANNED)
    for name, kind in RESERVED.items():
        assert name not in hints or hints[name] is kind, f"{name} must be {kind.__name__}"
    for name, hint in hints.items():
        origin = typing.get_origin(hint)
        assert hint in (int, float, str, bool) or origin in (tuple, typing.Literal), f"{name}: {hint}"
    if "follow" in hints:
        assert set(typing.get_args(hints["follow"])) == {"paper", "code"}
        assert all(getattr(c, "follow", "paper") == "paper" for c in card.profiles.values())
    tree = ast.parse((registry.room(slug) / "card.py").read_text())
    body = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Config").body
    for here, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(here, ast.AnnAssign):
            said = isinstance(following, ast.Expr) and isinstance(getattr(following.value, "value", None), str)
            assert said, f"config field {here.target.id} has no docstring"


@each
def test_room_chapter_and_contents_exist(slug):
    card = registry.card(slug)
    needed = ["__init__", "card", "data", "experiment"]
    needed += ["train"] if card.trains else []
    needed += ["model"] if card.network else []
    needed += ["official"] if (ROOT / "tests/parity/data" / f"{slug}.json").exists() else []
    for name in needed:
        assert registry.has(slug, name), f"{slug} has no {name}.py"
    assert (ROOT / "book" / card.part / f"{slug}.md").exists()
    assert (ROOT / "tests/papers" / f"test_{slug}.py").exists()
    assert f"{card.part}/{slug}" in str(yaml.safe_load((ROOT / "_toc.yml").read_text()))
    experiment = registry.module(slug, "experiment")
    assert card.compares == hasattr(experiment, "compare")
    if hasattr(experiment, "prepare"):
        assert set(experiment.PREPARE_FIELDS) <= {f.name for f in dataclasses.fields(card.config)}


@each
def test_no_code_branches_on_an_arms_name(slug):
    card = registry.card(slug)
    values = {v for f in dataclasses.fields(card.config) for v in typing.get_args(f.type) if isinstance(v, str)}
    hints = typing.get_type_hints(card.config)
    values |= {v for hint in hints.values() if typing.get_origin(hint) is typing.Literal for v in typing.get_args(hint)}
    names = {a.name for a in card.arms} - values
    for file in ("model", "data", "train", "experiment"):
        if not registry.has(slug, file):
            continue
        for node in ast.walk(ast.parse((registry.room(slug) / f"{file}.py").read_text())):
            if isinstance(node, ast.Compare):
                texts = {c.value for c in ast.walk(node) if isinstance(c, ast.Constant) and isinstance(c.value, str)}
                assert not texts & names, f"{file}.py line {node.lineno} compares with an arm's name"


@each
def test_paper_profile_has_the_reported_parameters(slug):
    from vislab.batch.scale import count

    card = registry.card(slug)
    if not card.network:
        pytest.skip("no network")
    numbers = count(slug)
    if numbers["reported"] is None:
        pytest.skip("the paper reports no count")
    assert numbers["parameters"] == pytest.approx(numbers["reported"], rel=0.02)


@each_trained
def test_training_lowers_the_loss_and_reaches_every_parameter(slug, cpu):
    card = registry.card(slug)
    step = registry.module(slug, "train").step
    state, items = begin(slug, cpu)
    state.model.train()
    reached: set[str] = set()
    losses = []
    for k in range(20):
        with counter.scope(0, "noise", f"step{k}"):
            losses.append(step(state, items)[card.descends])
        state.step += 1
        for name, parameter in state.model.named_parameters():
            if parameter.grad is not None:
                assert torch.isfinite(parameter.grad).all(), f"gradient of {name} is not finite"
                if parameter.grad.abs().sum() > 0:
                    reached.add(name)
    assert min(losses[-3:]) < losses[0], f"{card.descends} went from {losses[0]} to {losses[-1]}"
    frozen = {n for n, p in state.model.named_parameters() if not p.requires_grad or p.numel() == 0}
    untrained = {n for n, _ in state.model.named_parameters()} - reached - frozen
    assert not untrained, f"never reached by a gradient: {sorted(untrained)}"


@each_trained
def test_same_seed_same_numbers_and_another_seed_others(slug, cpu):
    step = registry.module(slug, "train").step

    def three(seed):
        state, items = begin(slug, cpu, seed=seed)
        found = []
        for k in range(3):
            with counter.scope(seed, "noise", f"step{k}"):
                found.append(step(state, items))
        return found

    assert three(0) == three(0)
    assert three(0) != three(1)


class NoGlobalRandom(TorchDispatchMode):
    """Raises when an operator draws from torch's global generator outside a scope."""

    DRAWS = ("rand", "normal", "bernoulli", "multinomial", "uniform", "dropout", "exponential", "random", "poisson")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        draws = any(word in name for word in self.DRAWS) and not name.endswith("backward")
        own = kwargs.get("generator") is not None or any(isinstance(a, torch.Generator) for a in args)
        if draws and not own and not counter.inside_scope() and args and not _meta(args, kwargs):
            raise AssertionError(f"{func} reads torch's global generator outside counter.scope")
        return func(*args, **kwargs)


def _meta(args, kwargs) -> bool:
    tensors = [a for a in args if isinstance(a, torch.Tensor)]
    return kwargs.get("device") == torch.device("meta") or any(t.is_meta for t in tensors)


@each
def test_nothing_reads_a_global_generator(slug, cpu, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a global generator was read")

    for module, names in (
        (np.random, ("rand", "randn", "random", "randint", "normal", "uniform", "permutation", "choice")),
    ):
        for name in names:
            monkeypatch.setattr(module, name, refuse)
    for name in ("random", "randint", "choice", "shuffle", "uniform", "sample", "gauss"):
        monkeypatch.setattr(random, name, refuse)
    config = config_of(slug)
    if "steps" in {f.name for f in dataclasses.fields(config)}:
        config = dataclasses.replace(config, steps=2)
    experiment = registry.module(slug, "experiment")
    with NoGlobalRandom():
        shared = experiment.prepare(config, 0, cpu) if hasattr(experiment, "prepare") else None
        outcome = experiment.run(config, 0, cpu, shared)
    assert isinstance(outcome, Outcome)


@each_trained
def test_checkpoint_gives_the_same_outputs(slug, cpu, tmp_path):
    step = registry.module(slug, "train").step
    state, items = begin(slug, cpu)
    with counter.scope(0, "noise", "step0"):
        step(state, items)
    state.step, state.history = 1, [{"loss": 1.0}]
    save_checkpoint(state, tmp_path / "state.safetensors")
    other, _ = begin(slug, cpu, seed=1)
    load_checkpoint(other, tmp_path / "state.safetensors")
    mine, theirs = state.network.state_dict(), other.network.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[k], theirs[k]) for k in mine)
    with counter.scope(0, "noise", "step1"):
        after = step(state, items)
    with counter.scope(0, "noise", "step1"):
        assert step(other, items) == after


@each
def test_batches_are_items_by_index_and_splits_differ(slug, cpu):
    data, config = registry.module(slug, "data"), config_of(slug)
    together = data.batch(config, "train", 0, torch.tensor([0, 1, 2]), cpu.device)
    alone = data.batch(config, "train", 0, torch.tensor([1]), cpu.device)
    for name, value in together.items():
        if value.shape[:1] == (3,):
            assert torch.allclose(value[1:2].double(), alone[name].double(), atol=1e-5), name
    other = data.batch(config, "test", 0, torch.tensor([0, 1, 2]), cpu.device)
    assert any(
        not torch.equal(together[n].double(), other[n].double())
        for n in together
        if together[n].shape == other[n].shape
    )


@each
def test_every_arm_runs_at_smoke_and_gives_its_metrics(slug, cpu):
    card, experiment = registry.card(slug), registry.module(slug, "experiment")
    names = {m.name for m in card.metrics}
    claimed = {}
    for claim in card.claims:
        for part in claim.parts:
            for arm in part.arms:
                claimed.setdefault(arm, set()).update(() if part.reduce else (part.metric,))
    for unit in units(card, experiment, "smoke", device="cpu"):
        record = execute(unit, card, experiment, debug=True)
        assert record.status == "done", f"{unit.name}: {record.error}"
        if unit.arm == COMPARE:
            continue
        assert set(record.metrics) <= names, f"{unit.arm}: {set(record.metrics) - names} is not in the card"
        assert claimed.get(unit.arm, set()) <= set(record.metrics), f"{unit.arm} lacks what its claims need"


@each
def test_published_record_agrees_with_the_card(slug):
    card = registry.card(slug)
    record = read_published("tutorial", slug)
    assert record is not None, (
        f"results/tutorial/{slug}.json is missing: vislab reproduce {slug}, then vislab publish {slug}"
    )
    assert record.claims_hash == claims_hash(card), "the claims were changed after they were judged"
    assert tuple(record.seeds) == SEEDS["tutorial"]
    assert {c["id"] for c in record.claims} == {c.id for c in card.claims}
    for arm in card.judged():
        if "tutorial" in card.arm(arm).profiles:
            assert all(len(v) == len(SEEDS["tutorial"]) for v in record.arms[arm].values())


@each
def test_arms_use_their_own_best_trial(slug):
    content = read_tuning(slug)
    assert content is not None, f"results/tuning/{slug}.json is missing: vislab tune {slug}"
    room = registry.module(slug, "card")
    assert untuned(room.PAPER, room.TUNING, content) == []
