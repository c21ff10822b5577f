"""The fit loop: batches, schedules, EMA, clipping, resuming exactly, damaged checkpoints."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from vislab.engine import fit
from vislab.errors import UserError


@dataclass(frozen=True)
class Config:
    steps: int = 30
    train_items: int = 10
    batch_size: int = 4
    grad_clip: float = 1.0
    ema_decay: float = 0.9


DATA = torch.linspace(-1, 1, 30).reshape(10, 3)


def build(config):
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 1))


def fresh(cpu, seed=0):
    model = fit.initialise(build, Config(), seed)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    return fit.start(Config(), seed, cpu, model, optimizer, fit.cosine(30, 5), {"centre": torch.zeros(2)})


def step(state, batch):
    state.extra["centre"] = state.extra["centre"] + 1
    return fit.descend(state, {"loss": (state.model(batch).squeeze(1) - batch.sum(1)).square().mean()})


def run(state, **kwargs):
    return fit.fit(state, step, lambda index: DATA[index], **kwargs)


def test_every_epoch_visits_every_item_once_in_a_new_order():
    seen = torch.cat([fit.batch_indices(0, k, 10, 4) for k in range(5)])
    assert torch.equal(seen[:10].sort().values, torch.arange(10))
    assert torch.equal(seen[10:].sort().values, torch.arange(10))
    assert not torch.equal(seen[:10], seen[10:])
    assert torch.equal(fit.batch_indices(0, 3, 10, 4), fit.batch_indices(0, 3, 10, 4))
    assert len(fit.batch_indices(0, 0, 3, 8)) == 8


def test_resuming_gives_the_same_numbers_as_never_stopping(cpu, tmp_path):
    whole = run(fresh(cpu))
    path = tmp_path / "state.safetensors"
    run(fresh(cpu), steps=13, checkpoint=path)
    resumed = run(fresh(cpu, seed=0), checkpoint=path)
    assert resumed.history == whole.history
    assert torch.equal(resumed.extra["centre"], torch.full((2,), 30.0))
    for a, b in zip(resumed.network.state_dict().values(), whole.network.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_a_damaged_checkpoint_names_itself(cpu, tmp_path, damage):
    path = tmp_path / "state.safetensors"
    run(fresh(cpu), steps=2, checkpoint=path)
    content = {"cut": path.read_bytes()[:200], "text": b"not a checkpoint", "empty": b""}[damage]
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"state\.safetensors cannot be read"):
        run(fresh(cpu), checkpoint=path)
    assert path.read_bytes() == content


def test_a_checkpoint_of_another_model_is_refused(cpu, tmp_path):
    path = tmp_path / "state.safetensors"
    run(fresh(cpu), steps=2, checkpoint=path)
    model = nn.Linear(3, 2)
    other = fit.start(Config(), 0, cpu, model, torch.optim.AdamW(model.parameters()))
    with pytest.raises(UserError, match="belongs to another model"):
        fit.load_checkpoint(other, path)


def test_a_loss_that_is_not_finite_stops_training(cpu):
    state = fresh(cpu)
    with pytest.raises(FloatingPointError, match="nan at step 0"):
        fit.descend(state, {"loss": torch.tensor(float("nan"), requires_grad=True)})


def test_ema_follows_by_its_decay():
    average, model = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.constant_(average.weight, 1.0)
    nn.init.constant_(model.weight, 2.0)
    fit.update_ema(average, model, 0.75)
    assert average.weight.item() == pytest.approx(1.25)


def test_gradients_are_clipped(cpu):
    state = fresh(cpu)
    fit.descend(state, {"loss": 1e6 * state.model(DATA).square().mean()})
    norm = torch.stack([p.grad.norm() for p in state.model.parameters()]).norm()
    assert float(norm) == pytest.approx(1.0, rel=1e-3)


def test_schedules():
    cosine = fit.cosine(10, 2, floor=0.1)
    assert [cosine(0), cosine(1), cosine(2)] == [0.5, 1.0, 1.0]
    assert cosine(6) == pytest.approx(0.55) and cosine(10) == pytest.approx(0.1) and cosine(99) == pytest.approx(0.1)
    steps = fit.multistep((4, 8), 0.1)
    assert [steps(3), steps(4), steps(8)] == pytest.approx([1.0, 0.1, 0.01])
    assert fit.exponential(0.125, 100)(50) == pytest.approx(0.125**0.5)
