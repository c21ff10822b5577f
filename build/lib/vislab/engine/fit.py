"""Training an ordinary paper: state, one descent step, the loop, checkpoints.

Special loops (adversarial, federated, reinforcement) use `State` and `descend` and write their own loop.
"""

import contextlib
import copy
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from vislab.engine.files import write_atomically
from vislab.errors import UserError
from vislab.ops import counter


@dataclass
class State:
    """What training carries from step to step.

    `models` are the networks by name ("model" is the paper's own); `extra` holds plain tensors that a paper keeps (queues, centres).
    """

    config: Any
    seed: int
    accelerator: Any
    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: Any = None
    ema: nn.Module | None = None
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    extra: dict[str, Tensor] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        return self.accelerator.device

    @property
    def network(self) -> nn.Module:
        """The bare network to evaluate: the EMA copy where there is one, never the distributed wrapper."""
        return self.ema if self.ema is not None else self.accelerator.unwrap_model(self.model)


def initialise(build: Callable[..., nn.Module], config: Any, seed: int, draw: str = "model") -> nn.Module:
    """`build(config)` with its weights drawn from the stream "init" of `seed`."""
    with counter.scope(seed, "init", draw):
        return build(config)


def start(
    config: Any,
    seed: int,
    accelerator: Any,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: Callable[[int], float] | None = None,
    extra: Mapping[str, Tensor] | None = None,
) -> State:
    """A fresh `State`, its parts prepared for the device(s).

    `schedule(step)` multiplies the learning rate.
    An EMA copy is kept when the config has a positive `ema_decay`.
    """
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule) if schedule else None
    ema = None
    if getattr(config, "ema_decay", 0.0) > 0:
        ema = copy.deepcopy(model).requires_grad_(False).to(accelerator.device)
    model, optimizer = accelerator.prepare(model, optimizer)
    return State(config, seed, accelerator, model, optimizer, scheduler, ema, extra=dict(extra or {}))


def descend(state: State, losses: Mapping[str, Tensor]) -> dict[str, float]:
    """One optimisation step on `losses["loss"]`; the other entries are reported beside it.

    Clips the gradient's norm to the config's `grad_clip` where that is positive, then steps the schedule and the EMA.
    Raises FloatingPointError when the loss is not finite.
    """
    loss = losses["loss"]
    values = {name: float(value.detach()) for name, value in losses.items()}
    if not math.isfinite(values["loss"]):
        raise FloatingPointError(f"the loss became {values['loss']} at step {state.step}")
    state.optimizer.zero_grad(set_to_none=True)
    state.accelerator.backward(loss)
    if getattr(state.config, "grad_clip", 0.0) > 0:
        state.accelerator.clip_grad_norm_(state.model.parameters(), state.config.grad_clip)
    state.optimizer.step()
    if state.scheduler is not None:
        state.scheduler.step()
    if state.ema is not None:
        update_ema(state.ema, state.accelerator.unwrap_model(state.model), state.config.ema_decay)
    return values


@torch.no_grad()
def update_ema(average: nn.Module, model: nn.Module, decay: float) -> None:
    """average <- decay * average + (1 - decay) * model for parameters; buffers are copied."""
    for target, source in zip(average.parameters(), model.parameters(), strict=True):
        target.lerp_(source.to(target.dtype), 1 - decay)
    for target, source in zip(average.buffers(), model.buffers(), strict=True):
        target.copy_(source)


def batch_indices(seed: int, step: int, items: int, batch_size: int) -> Int[Tensor, " batch"]:
    """Item indices of one step: every epoch is its own permutation of range(items).

    A pure function of its arguments, so that arms of one seed see the same batches and training resumes anywhere.
    """
    position = torch.arange(step * batch_size, (step + 1) * batch_size)
    epochs = position // items
    found = torch.empty_like(position)
    for epoch in epochs.unique().tolist():
        here = epochs == epoch
        found[here] = _order(seed, epoch, items)[position[here] % items]
    return found


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, items: int) -> Int[Tensor, " items"]:
    """The order of one epoch; kept, since many steps share it."""
    return counter.permutation(seed, "batches", torch.tensor([epoch]), "order", items)[0]


def fit(
    state: State,
    step: Callable[[State, Any], dict[str, float]],
    batch: Callable[[Int[Tensor, " batch"]], Any],
    *,
    steps: int | None = None,
    items: int | None = None,
    batch_size: int | None = None,
    after: Callable[[State], None] | None = None,
    checkpoint: Path | str | None = None,
    checkpoint_every: int = 1000,
    progress: bool = False,
) -> State:
    """Run `step(state, batch(indices))` up to `steps`; each step has its own "noise" scope.

    `after(state)` runs after every step (grid growth, teacher updates).
    With `checkpoint`, the state is saved there now and then, and training goes on from it when it exists.
    `steps`, `items` and `batch_size` default to the config's `steps`, `train_items` and `batch_size`.
    """
    config = state.config
    steps = config.steps if steps is None else steps
    items = config.train_items if items is None else items
    batch_size = config.batch_size if batch_size is None else batch_size
    if checkpoint is not None and Path(checkpoint).exists():
        load_checkpoint(state, checkpoint)
    state.model.train()
    with _bar(state.step, steps, progress and state.accelerator.is_main_process) as bar:
        while state.step < steps:
            items_now = batch(batch_indices(state.seed, state.step, items, batch_size).to(state.device))
            with counter.scope(state.seed, "noise", f"step{state.step}"):
                losses = step(state, items_now)
            state.history.append(losses)
            state.step += 1
            if after is not None:
                after(state)
            bar.update(1)
            if state.step % 10 == 0:
                bar.set_postfix(loss=f"{losses['loss']:.4g}", refresh=False)
            if checkpoint is not None and (state.step % checkpoint_every == 0 or state.step == steps):
                save_checkpoint(state, checkpoint)
    return state


@contextlib.contextmanager
def _bar(initial: int, total: int, shown: bool):
    from tqdm.auto import tqdm

    with tqdm(initial=initial, total=total, disable=not shown, unit="step", mininterval=0.5, leave=True) as bar:
        yield bar


def cosine(steps: int, warmup_steps: int = 0, floor: float = 0.0) -> Callable[[int], float]:
    """Linear warm-up, then a cosine from 1 to `floor` over `steps` steps."""

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        done = min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps))
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))

    return factor


def multistep(milestones: Iterable[int], gamma: float = 0.1, warmup_steps: int = 0) -> Callable[[int], float]:
    """Linear warm-up, then a factor `gamma` at every milestone passed."""
    marks = tuple(milestones)

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        return gamma ** sum(step >= m for m in marks)

    return factor


def exponential(decay: float, steps: int) -> Callable[[int], float]:
    """decay ** (step / steps)."""
    return lambda step: decay ** (step / steps)


def save_checkpoint(state: State, path: Path | str) -> None:
    """Write networks, optimiser, schedule and history to one safetensors file, atomically."""
    from safetensors.torch import save

    if not state.accelerator.is_main_process:
        return
    tensors: dict[str, Tensor] = {}
    notes: dict[str, Any] = {"step": state.step, "seed": state.seed, "history": state.history, "scalars": {}}
    for name, value in state.accelerator.unwrap_model(state.model).state_dict().items():
        tensors[f"model/{name}"] = value
    if state.ema is not None:
        for name, value in state.ema.state_dict().items():
            tensors[f"ema/{name}"] = value
    for name, value in state.extra.items():
        tensors[f"extra/{name}"] = value
    packed = state.optimizer.state_dict()
    for slot, values in packed["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{slot}/{name}"] = value
            else:
                notes["scalars"][f"{slot}/{name}"] = value
    notes["groups"] = packed["param_groups"]
    if state.scheduler is not None:
        notes["scheduler"] = {k: v for k, v in state.scheduler.state_dict().items() if k != "lr_lambdas"}
    content = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    write_atomically(Path(path), save(content, {"vislab": json.dumps(notes)}))


def load_checkpoint(state: State, path: Path | str) -> State:
    """Fill `state` from a checkpoint; raises UserError naming the file when it is damaged or of another model."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as file:
            notes = json.loads((file.metadata() or {}).get("vislab", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"checkpoint {path} cannot be read ({error}); delete it to start training anew") from error
    if notes is None:
        raise UserError(f"checkpoint {path} was not written by vislab (no notes in its header)")

    def below(prefix: str) -> dict[str, Tensor]:
        return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}

    try:
        state.accelerator.unwrap_model(state.model).load_state_dict(below("model/"))
        if state.ema is not None:
            state.ema.load_state_dict(below("ema/"))
    except RuntimeError as error:
        raise UserError(f"checkpoint {path} belongs to another model: {str(error).splitlines()[-1].strip()}") from error
    state.extra.update({k: v.to(state.device) for k, v in below("extra/").items()})
    slots: dict[int, dict[str, Any]] = {}
    for name, value in below("optimizer/").items():
        slot, _, key = name.partition("/")
        slots.setdefault(int(slot), {})[key] = value
    for name, value in notes["scalars"].items():
        slot, _, key = name.partition("/")
        slots.setdefault(int(slot), {})[key] = value
    state.optimizer.load_state_dict({"state": slots, "param_groups": notes["groups"]})
    if state.scheduler is not None:
        state.scheduler.load_state_dict({**notes["scheduler"], "lr_lambdas": [None] * len(state.scheduler.base_lrs)})
    state.step, state.seed, state.history = notes["step"], notes["seed"], notes["history"]
    return state
