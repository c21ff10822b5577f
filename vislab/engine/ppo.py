"""Proximal policy optimisation for recurrent policies over a batch of environments.

Everything is laid out (time, environment, ...).
`starts[t]` marks the environments whose episode began at time t: memory is cleared before that step.
`ends[t]` marks those whose episode ended with the action at time t: no value flows back over that border.
"""

import math
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn


@dataclass(frozen=True)
class Rollout:
    """What a batch of environments did for some steps."""

    observations: dict[str, Float[Tensor, "time batch ..."]]
    """What the policy saw, by name."""
    actions: Float[Tensor, "time batch action"]
    """What it did."""
    log_probabilities: Float[Tensor, "time batch"]
    """Of the actions, under the policy that took them."""
    values: Float[Tensor, "time batch"]
    """Its estimates of the return."""
    rewards: Float[Tensor, "time batch"]
    """What it got."""
    starts: Bool[Tensor, "time batch"]
    """Episodes that began here."""
    ends: Bool[Tensor, "time batch"]
    """Episodes that ended here."""
    memory: Float[Tensor, "two batch width"]
    """The recurrent state before the first step."""
    final_value: Float[Tensor, " batch"]
    """The estimate after the last step."""

    def environments(self, chosen: Tensor) -> "Rollout":
        """The whole histories of some environments, so that memories stay intact."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("observations", "final_value")}
        cut = {name: value[:, chosen] for name, value in values.items()}
        seen = {name: value[:, chosen] for name, value in self.observations.items()}
        return Rollout(observations=seen, final_value=self.final_value[chosen], **cut)


def advantages(rollout: Rollout, discount: float, smoothing: float) -> Float[Tensor, "time batch"]:
    """Generalised advantage estimates: sums of temporal differences that fade with `discount * smoothing`."""
    following = torch.cat([rollout.values[1:], rollout.final_value[None]])
    going = (~rollout.ends).to(following.dtype)
    difference = rollout.rewards + discount * following * going - rollout.values
    found, sum_ = torch.empty_like(difference), torch.zeros_like(rollout.final_value)
    for t in reversed(range(len(difference))):
        sum_ = difference[t] + discount * smoothing * going[t] * sum_
        found[t] = sum_
    return found


def gaussian_log_probability(
    actions: Float[Tensor, "*batch action"], mean: Float[Tensor, "*batch action"], log_std: Float[Tensor, " action"]
) -> Float[Tensor, "*batch"]:
    """Log density of a diagonal Gaussian."""
    scaled = (actions - mean) * torch.exp(-log_std)
    return -(0.5 * scaled.square() + log_std + 0.5 * math.log(2 * math.pi)).sum(-1)


def gaussian_entropy(log_std: Float[Tensor, " action"]) -> Float[Tensor, ""]:
    """Entropy of a diagonal Gaussian in nats."""
    return (log_std + 0.5 * math.log(2 * math.pi * math.e)).sum()


def clipped_losses(
    log_probabilities: Float[Tensor, "*batch"],
    before: Float[Tensor, "*batch"],
    advantage: Float[Tensor, "*batch"],
    values: Float[Tensor, "*batch"],
    returns: Float[Tensor, "*batch"],
    clip: float,
) -> dict[str, Float[Tensor, ""]]:
    """PPO's surrogate `loss_policy` (clipped ratio, to be lowered), `loss_value`, and the share of ratios that were clipped."""
    ratio = torch.exp(log_probabilities - before)
    surrogate = torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)
    return {
        "loss_policy": -surrogate.mean(),
        "loss_value": 0.5 * (values - returns).square().mean(),
        "clipped": ((ratio - 1).abs() > clip).float().mean(),
    }


def normalised(advantage: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Mean 0 and deviation 1 over the whole rollout."""
    return (advantage - advantage.mean()) / (advantage.std(correction=0) + 1e-6)


class Memory(nn.Module):
    """An LSTM over (time, batch, features) that forgets where an episode starts."""

    def __init__(self, features: int, width: int):
        super().__init__()
        self.cell = nn.LSTMCell(features, width)

    def forward(
        self,
        inputs: Float[Tensor, "time batch feature"],
        memory: Float[Tensor, "two batch width"],
        starts: Bool[Tensor, "time batch"],
    ) -> tuple[Float[Tensor, "time batch width"], Float[Tensor, "two batch width"]]:
        """Outputs and the memory after the last step; what does not depend on memory is computed for all times at once."""
        hidden, cell = memory.unbind(0)
        driven = F.linear(inputs, self.cell.weight_ih, self.cell.bias_ih + self.cell.bias_hh)
        keep = (~starts).to(inputs.dtype)[..., None]
        found = []
        for now, kept in zip(driven.unbind(0), keep.unbind(0), strict=True):
            gates = torch.addmm(now, hidden * kept, self.cell.weight_hh.T)
            enter, forget, fresh, shown = gates.chunk(4, dim=1)
            cell = forget.sigmoid() * (cell * kept) + enter.sigmoid() * fresh.tanh()
            hidden = shown.sigmoid() * cell.tanh()
            found.append(hidden)
        return torch.stack(found), torch.stack([hidden, cell])
