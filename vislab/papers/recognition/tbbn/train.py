"""Training task after task: batches of fixed make-up, a herded memory, and the network before the task as teacher."""

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vislab.engine.continual import herding, mixed_batch, share
from vislab.engine.fit import State, batch_indices, descend, fit, initialise, multistep, start
from vislab.ops.augment import crop_and_flip
from vislab.papers.recognition.tbbn.card import Config
from vislab.papers.recognition.tbbn.data import batch, task_items
from vislab.papers.recognition.tbbn.diagnostics import ALIKE, gradient_gaps
from vislab.papers.recognition.tbbn.losses import less_forget, margin_ranking, reweighted, separated, task_distillation
from vislab.papers.recognition.tbbn.model import build, stage_span
from vislab.papers.recognition.tbbn.norms import memory_part, set_task


@dataclass
class Learner(State):
    """A `State` that goes through tasks."""

    task: int = 0
    """The task being trained, from 0."""
    balanced: bool = False
    """Whether this is EEIL's last stage, whose batches show every class equally."""
    teacher: nn.Module | None = None
    """The frozen network that is distilled from."""
    memory: dict[int, Tensor] = field(default_factory=dict)
    """Exemplars (chosen, 3, h, w) of every class seen, in the order of herding."""
    snapshots: list[dict[str, Tensor]] = field(default_factory=list)
    """The network's state after every task."""


def task_count(config: Config) -> int:
    """Tasks that are trained one after the other."""
    return 1 if config.joint else config.tasks


def task_steps(config: Config) -> int:
    """Steps of one task."""
    return config.steps // task_count(config)


def _start(config: Config, seed: int, accelerator: Any, model: nn.Module, steps: int, rate: float) -> State:
    """A fresh optimiser and schedule for a task, or for a stage of it."""
    optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.9, weight_decay=config.weight_decay)
    return start(config, seed, accelerator, model, optimizer, multistep(round(m * steps) for m in config.milestones))


def begin(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> Learner:
    """The untrained network at its first task."""
    model = initialise(build, config, seed)
    return Learner(**vars(_start(config, seed, accelerator, model, task_steps(config), config.learning_rate)))


def advance(state: Learner, task: int, steps: int, balanced: bool = False) -> Learner:
    """The same network at the start of a task, or of its balanced stage: new optimiser, its own copy as teacher."""
    config = state.config
    model = state.accelerator.unwrap_model(state.model)
    teacher = copy.deepcopy(model).eval().requires_grad_(False) if config.approach != "finetune" and task else None
    rate = config.learning_rate * (config.balanced_factor if balanced else 1.0)
    # a balanced batch of t + 1 tasks has r = 1, which is plain batch normalisation
    set_task(model, 0 if balanced and config.follow == "paper" else task)
    fresh = vars(_start(config, state.seed, state.accelerator, model, steps, rate))
    fresh |= {"step": state.step, "history": state.history}
    return Learner(
        **fresh, task=task, balanced=balanced, teacher=teacher, memory=state.memory, snapshots=state.snapshots
    )


def step(state: Learner, items: dict[str, Tensor]) -> dict[str, float]:
    """One step of a batch [current, memory]; raises ValueError where the batch of a later task is not in this order."""
    config, label, task = state.config, items["label"], state.task
    first, seen = stage_span(config, task)
    current = len(label) - memory_part(config)
    mixed = task > 0 and not (state.balanced and config.follow == "paper")
    if mixed and ((label[:current] < first).any() or (label[current:] >= first).any()):
        raise ValueError(f"a batch of task {task} has {current} images of it first, and then older ones")
    image = crop_and_flip(items["image"], config.crop_padding)
    found = state.model(image, first if config.approach == "lucir" else 0)
    logits = found["logits"][:, :seen]
    if mixed and config.approach == "ssil":
        own = separated(logits, label, first, current)
    elif mixed and config.reweighted:
        own = reweighted(logits, label, current, task)
    else:
        own = F.cross_entropy(logits, label)
    losses = {"own": own}
    if state.teacher is not None:
        with torch.no_grad():
            old = state.teacher(image)
        losses |= kept_losses(state, label, logits, found["feat"], old)
    return descend(state, {"loss": sum(losses.values()), **losses})


def kept_losses(
    state: Learner, label: Tensor, logits: Tensor, feat: Tensor, old: dict[str, Tensor]
) -> dict[str, Tensor]:
    """What the method adds so that the old network's knowledge stays, each with its weight."""
    config, task = state.config, state.task
    first, seen = stage_span(config, task)
    if config.approach == "lucir":
        weight = config.weight_forget * (first / (seen - first)) ** 0.5
        cosine = logits / state.accelerator.unwrap_model(state.model).head.scale
        return {
            "forget": weight * less_forget(feat, old["feat"]),
            "margin": config.weight_margin * margin_ranking(cosine, label, first, config.margin),
        }
    spans = [stage_span(config, t) for t in range(task + state.balanced)]
    if config.approach == "ssil" and config.follow == "code":
        spans = spans[-1:]
    scale = config.temperature**2 if config.approach == "ssil" else 1.0
    distil = task_distillation(logits, old["logits"], spans, config.temperature)
    return {"distil": config.weight_distil * scale * distil}


@torch.no_grad()
def remember(state: Learner, pool: dict[str, Tensor]) -> None:
    """Herd exemplars of the task's classes by the features of their pictures, and give every class seen its share of the memory."""
    config, network = state.config, state.network.eval()
    first, seen = stage_span(config, state.task)
    each = share(config.memory, seen)
    for c in range(first, seen):
        mine = pool["image"][pool["label"] == c]
        features = torch.cat([network.features(part) for part in mine.split(config.eval_batch_size)])
        state.memory[c] = mine[herding(F.normalize(features, dim=1), each)]
    for c, kept in state.memory.items():
        state.memory[c] = kept[:each]


def stacked(memory: dict[int, Tensor], below: int) -> dict[str, Tensor]:
    """All exemplars of the classes below a number, as one batch."""
    kept = {c: images for c, images in memory.items() if c < below}
    label = [torch.full((len(v),), c, device=v.device) for c, v in kept.items()]
    return {"image": torch.cat(list(kept.values())), "label": torch.cat(label)}


def mixture(state: Learner, pool: dict[str, Tensor], old: dict[str, Tensor] | None, at: int) -> dict[str, Tensor]:
    """The batch of step `at`: of the current task alone where there is no memory, else B_c current images and then B_p old ones."""
    config = state.config
    if old is None:
        rows = batch_indices(state.seed, at, len(pool["label"]), config.batch_size)
        return {name: value[rows] for name, value in pool.items()}
    part = memory_part(config)
    new, past = mixed_batch(len(pool["label"]), len(old["label"]), state.seed, at, (config.batch_size - part, part))
    return {name: torch.cat([value[new], old[name][past]]) for name, value in pool.items()}


def train(
    config: Config,
    seed: int,
    accelerator: Any,
    shared: dict[str, Tensor] | None = None,
    progress: bool = False,
    checkpoint: str | None = None,
) -> Learner:
    """All tasks; the last one's steps end with EEIL's balanced stage where that is the method.

    A run that was cut off goes through its finished tasks again from their checkpoints, memory included.
    """
    state = begin(config, seed, accelerator, shared)
    length = task_steps(config)
    last = round(config.balanced_share * length) if config.approach == "eeil" else 0
    for task in range(task_count(config)):
        pool = batch(config, "train", seed, task_items(config, task), accelerator.device)
        first, seen = stage_span(config, task)
        ends = (task + 1) * length
        if task:
            state = advance(state, task, length - last)
        state = _stage(
            state,
            pool,
            stacked(state.memory, first) if task else None,
            ends - (last if task else 0),
            progress,
            checkpoint,
        )
        remember(state, pool)
        if task and last:
            state = advance(state, task, last, balanced=True)
            if config.follow == "paper":
                state = _stage(state, stacked(state.memory, seen), None, ends, progress, checkpoint)
            else:
                state = _stage(state, pool, stacked(state.memory, first), ends, progress, checkpoint)
            remember(state, pool)
        state.snapshots.append({n: v.detach().clone() for n, v in state.network.state_dict().items()})
    return state


def _stage(
    state: Learner,
    pool: dict[str, Tensor],
    old: dict[str, Tensor] | None,
    ends: int,
    progress: bool,
    checkpoint: str | None,
) -> Learner:
    """Steps up to `ends`, with a probe of the gradients' bias now and then where there is a memory."""
    config = state.config
    every = (ends - state.step) // config.probes if config.probes and old is not None and config.norm in ALIKE else 0

    def probe(now: Learner) -> None:
        if every and (ends - now.step) % every == 0:
            items = mixture(now, pool, old, now.step)
            now.history[-1] |= gradient_gaps(now.network, items["image"], items["label"], config, now.task)

    return fit(
        state,
        step,
        lambda _: mixture(state, pool, old, state.step),
        steps=ends,
        items=len(pool["label"]),
        after=probe,
        checkpoint=checkpoint and f"{checkpoint}.{ends}",
        progress=progress,
    )
