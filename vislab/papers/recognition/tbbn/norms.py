"""Normalisation layers of class-incremental learning: task-balanced batch normalisation and what it is compared with."""

import math
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from vislab.papers.recognition.tbbn.card import Config

Statistics = Literal["balanced", "raw", "repeated"]


def feasible_groups(current: int, memory: int, task: int) -> int:
    """Groups r* for a batch of `current` and `memory` images in task `task`, from 0 (section 4.1).

    With r = current / memory * task groups, each would hold every task equally often.
    r* is the largest common divisor of the two numbers that is at most r, and 1 in the first task or where r is below 1.
    """
    wanted = max(1.0, current / memory * task)
    common = math.gcd(current, memory)
    return max(d for d in range(1, common + 1) if common % d == 0 and d <= wanted)


def task_weights(current: int, memory: int, task: int) -> tuple[float, float]:
    """Weights of a current and of a memory image with which every task counts equally; their mean over the batch is 1."""
    images = current + memory
    return images / (current * (task + 1)), images * task / (memory * (task + 1))


class TaskBalancedNorm(nn.BatchNorm2d):
    """Batch normalisation whose training batch is rearranged so that every task counts (section 4.1).

    A batch is [current, memory] in this order.
    From the second task on, the current part is folded into r* groups along the channels, the memory part repeated in every group.
    Statistics, gamma and beta are a group's own; a memory image's output is the mean of its r* copies.
    `set_task` says which task it is; in evaluation and in the first task this is `nn.BatchNorm2d`, with the same state.

    `groups` fixes r*; `statistics` other than "balanced" and `balanced_gradients` are for ablations:
    "raw" takes the batch as it comes, "repeated" repeats the memory r* times along the batch and folds nothing.
    `balanced_gradients` weighs what each image adds to the gradients of gamma and beta by `task_weights`.
    """

    def __init__(
        self,
        channels: int,
        current: int = 48,
        memory: int = 16,
        groups: int = 0,
        statistics: Statistics = "balanced",
        balanced_gradients: bool = False,
    ):
        super().__init__(channels)
        if groups and (current % groups or memory % groups):
            raise ValueError(f"{groups} groups do not divide {current} current and {memory} memory images")
        self.current, self.memory, self.fixed = current, memory, groups
        self.statistics, self.balanced_gradients, self.task = statistics, balanced_gradients, 0

    @property
    def groups(self) -> int:
        """r* of the present task."""
        if self.task == 0:
            return 1
        return self.fixed or feasible_groups(self.current, self.memory, self.task)

    def forward(self, x: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel h w"]:
        """Raises ValueError for a training batch of another make-up than [current, memory]."""
        if not self.training or self.task == 0:
            return super().forward(x)
        if len(x) != self.current + self.memory:
            raise ValueError(f"a batch of {len(x)} is not {self.current} current and {self.memory} memory images")
        self.num_batches_tracked.add_(1)
        if not self.balanced_gradients:
            return self.normalised(x, self.weight, self.bias)
        weights = task_weights(self.current, self.memory, self.task)
        plain = self.normalised(x, None, None).split([self.current, self.memory])
        scaled = [_affine(part, self.weight, self.bias, w) for part, w in zip(plain, weights, strict=True)]
        return torch.cat(scaled)

    def normalised(self, x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """`x` by the statistics of the rearranged batch, which the running ones follow; then gamma and beta, if given."""
        r, channels = self.groups, self.num_features
        now, old = x.split([self.current, self.memory])
        if self.statistics == "raw":
            return self._batch_norm(x, 1, weight, bias)
        if self.statistics == "repeated":
            return self._batch_norm(torch.cat([now, old.repeat(r, 1, 1, 1)]), 1, weight, bias)[: len(x)]
        rows = self.current // r
        folded = now.reshape(rows, r * channels, *x.shape[2:])
        out = self._batch_norm(torch.cat([folded, old.repeat(1, r, 1, 1)]), r, weight, bias)
        copies = out[rows:].reshape(self.memory, r, *x.shape[1:])
        return torch.cat([out[:rows].reshape(now.shape), copies.mean(dim=1)])

    def _batch_norm(self, x: Tensor, r: int, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        """Ordinary batch normalisation of r groups of channels; the running statistics follow the mean of the groups'."""
        mean, var = self.running_mean.repeat(r), self.running_var.repeat(r)
        weight, bias = (None if p is None else p.repeat(r) for p in (weight, bias))
        out = F.batch_norm(x, mean, var, weight, bias, True, self.momentum, self.eps)
        with torch.no_grad():
            self.running_mean.copy_(mean.reshape(r, -1).mean(dim=0))
            self.running_var.copy_(var.reshape(r, -1).mean(dim=0))
        return out


def _affine(x: Tensor, weight: Tensor, bias: Tensor, scale: float) -> Tensor:
    """gamma x + beta, whose gradients for gamma and beta are multiplied by `scale`."""
    gamma, beta = (p * scale - (p * (scale - 1)).detach() for p in (weight, bias))
    return x * gamma[:, None, None] + beta[:, None, None]


class ContinualNorm(nn.BatchNorm2d):
    """Group normalisation without gamma and beta, then batch normalisation (Pham et al. 2022)."""

    def __init__(self, channels: int, groups: int = 8):
        super().__init__(channels)
        self.groups = groups

    def grouped(self, x: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel h w"]:
        """What the batch normalisation gets."""
        return F.group_norm(x, self.groups, eps=self.eps)

    def forward(self, x: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel h w"]:
        return super().forward(self.grouped(x))


class BatchRenorm(nn.BatchNorm2d):
    """Batch normalisation corrected towards the running statistics, the correction without gradient (Ioffe 2017)."""

    def __init__(self, channels: int, most_scale: float = 3.0, most_shift: float = 5.0):
        super().__init__(channels)
        self.most_scale, self.most_shift = most_scale, most_shift

    def forward(self, x: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel h w"]:
        if not self.training:
            return super().forward(x)
        with torch.no_grad():
            std, usual = x.var(dim=(0, 2, 3), correction=0).add(self.eps).sqrt(), self.running_var.add(self.eps).sqrt()
            scale = (std / usual).clamp(1 / self.most_scale, self.most_scale)
            shift = ((x.mean(dim=(0, 2, 3)) - self.running_mean) / usual).clamp(-self.most_shift, self.most_shift)
        self.num_batches_tracked.add_(1)
        plain = F.batch_norm(x, self.running_mean, self.running_var, None, None, True, self.momentum, self.eps)
        plain = plain * scale[:, None, None] + shift[:, None, None]
        return plain * self.weight[:, None, None] + self.bias[:, None, None]


class SwitchableNorm(nn.BatchNorm2d):
    """Learned mixtures of the statistics of an image's channel, of an image, and of a channel over the batch (Luo et al. 2019)."""

    def __init__(self, channels: int):
        super().__init__(channels)
        self.mix_mean, self.mix_var = (nn.Parameter(torch.zeros(3)) for _ in range(2))

    def forward(self, x: Float[Tensor, "batch channel h w"]) -> Float[Tensor, "batch channel h w"]:
        mean = x.mean(dim=(2, 3), keepdim=True)
        square = x.square().mean(dim=(2, 3), keepdim=True)
        over = {"image": (1,), "batch": (0,)}
        means = [mean, *(mean.mean(dim=d, keepdim=True) for d in over.values())]
        squares = [square, *(square.mean(dim=d, keepdim=True) for d in over.values())]
        variances = [s - m.square() for s, m in zip(squares, means, strict=True)]
        if self.training:
            self.num_batches_tracked.add_(1)
            with torch.no_grad():
                self.running_mean.lerp_(means[2].flatten(), self.momentum)
                self.running_var.lerp_(variances[2].flatten(), self.momentum)
        else:
            means[2], variances[2] = (v[None, :, None, None] for v in (self.running_mean, self.running_var))
        mean, var = (
            sum(w * v for w, v in zip(mix.softmax(dim=0), values, strict=True))
            for mix, values in ((self.mix_mean, means), (self.mix_var, variances))
        )
        plain = (x - mean) / (var + self.eps).sqrt()
        return plain * self.weight[:, None, None] + self.bias[:, None, None]


def memory_part(config: Config) -> int:
    """Memory images of a batch (B_p); the others are of the current task (B_c)."""
    return round(config.batch_size / (1 + config.ratio))


def norm_layer(config: Config) -> Callable[[int], nn.Module]:
    """The config's normalisation as a function of the number of channels."""
    old = memory_part(config)
    options = config.groups, config.statistics, config.balanced_gradients
    return {
        "bn": nn.BatchNorm2d,
        "tbbn": lambda channels: TaskBalancedNorm(channels, config.batch_size - old, old, *options),
        "cn": lambda channels: ContinualNorm(channels, config.norm_groups),
        "gn": lambda channels: nn.GroupNorm(config.norm_groups, channels),
        "ln": lambda channels: nn.GroupNorm(1, channels),
        "in": lambda channels: nn.InstanceNorm2d(channels, affine=True),
        "brn": BatchRenorm,
        "sn": SwitchableNorm,
    }[config.norm]  # fmt: skip


def convert_bn(module: nn.Module, norm: Callable[[int], nn.Module]) -> nn.Module:
    """Put `norm(channels)` in the place of every batch normalisation inside `module`; mode, and state of the same names, are kept."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            fresh = norm(child.num_features).train(child.training).to(child.running_mean.device)
            if fresh.state_dict().keys() == child.state_dict().keys():
                fresh.load_state_dict(child.state_dict())
            setattr(module, name, fresh)
        else:
            convert_bn(child, norm)
    return module


def set_task(module: nn.Module, task: int) -> None:
    """Tell every task-balanced layer which task is trained, from 0."""
    for layer in module.modules():
        if isinstance(layer, TaskBalancedNorm):
            layer.task = task
