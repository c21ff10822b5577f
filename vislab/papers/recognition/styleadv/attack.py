"""New styles for an episode's features: attacked by gradient (section 3.3), or swapped, mixed and random ones for comparison."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from vislab.ops.styles import restyled, style
from vislab.papers.recognition.styleadv.card import Config
from vislab.papers.recognition.styleadv.model import STAGES, Change, FewShotNetwork, changed

START = 16 / 255
"""The random start's size; the released code adds it as it is to every statistic."""
MIX = 0.1
"""Both parameters of MixStyle's Beta distribution."""

Loss = Callable[[Float[Tensor, "image feature"]], Float[Tensor, ""]]


def attack_loss(model: FewShotNetwork, episode: Tensor, label: Int[Tensor, "episode way"], config: Config) -> Loss:
    """What an attack raises: the cross-entropy of all the episode's pictures among the base classes, or that of its few-shot task."""
    episodes, way, items = episode.shape[:3]

    def loss(feat: Tensor) -> Tensor:
        if config.attack_loss == "few_shot":
            return few_shot_loss(model.head(feat.reshape(episodes, way, items, -1), config.shots))
        return F.cross_entropy(model.classifier(feat), label[..., None].expand(-1, -1, items).flatten())

    return loss


def few_shot_loss(scores: Float[Tensor, "episode way query way"]) -> Float[Tensor, ""]:
    """Cross-entropy of the queries; class w of an episode stands in its row w."""
    target = torch.arange(scores.shape[1], device=scores.device)[:, None].expand(scores.shape[:3])
    return F.cross_entropy(scores.flatten(0, 2), target.flatten())


def gradients(
    model: FewShotNetwork, k: int, loss: Loss, leaves: tuple[Tensor, ...], rebuilt: Callable[..., Tensor]
) -> tuple[Tensor, ...]:
    """Gradients of the loss for `leaves`, from which `rebuilt` makes the output of stage `k` (-1: the pictures); for no parameter."""
    with torch.enable_grad():
        leaves = tuple(leaf.detach().requires_grad_() for leaf in leaves)
        x = rebuilt(*leaves)
        for later in range(k + 1, STAGES):
            x = model.backbone.stage(later, x)
        return torch.autograd.grad(loss(model.backbone.pooled(x)), leaves)


def style_gradient(model: FewShotNetwork, k: int, x: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
    """Gradients of the loss for mean and standard deviation of stage `k`'s output, its normalised content held fixed (eq. 3)."""
    backbone, kept = model.backbone, model.backbone.map_of(x).detach()
    return gradients(model, k, loss, style(kept), lambda m, s: backbone.with_map(x, restyled(kept, m, s)))


def start_of(value: Tensor, config: Config) -> Tensor:
    """The statistic where the attack starts: with Gaussian noise (the text), or plus a constant (the released code)."""
    return value + START * (1.0 if config.follow == "code" else torch.randn_like(value))


@torch.no_grad()
def new_styles(
    model: FewShotNetwork,
    episode: Float[Tensor, "episode way item 3 h w"],
    label: Int[Tensor, "episode way"],
    config: Config,
    other: Float[Tensor, "episode way item 3 h w"] | None = None,
) -> dict[int, Change]:
    """A change for every stage named in `config.blocks`, found with the network in evaluation mode, which is restored afterwards.

    "adversarial" moves each statistic by a drawn strength along the sign of its gradient (eqs. 4 and 5), "random" by a Gaussian
    of that size, "swap" takes the statistics of the picture at the same place of `other`, "mix" those between (MixStyle).
    "features" offsets every entry of a map along its gradient's sign.
    With `config.progressive` a stage sees the changes of the stages before it.
    """
    training, backbone = model.training, model.backbone
    model.eval()
    loss = attack_loss(model, episode, label, config)
    x, y = episode.flatten(0, 2), None if other is None else other.flatten(0, 2)
    changes: dict[int, Change] = {}
    for k in range(STAGES - 1):
        x = backbone.stage(k, x)
        y = None if y is None else backbone.stage(k, y)
        if k + 1 not in config.blocks:
            continue
        own = style(backbone.map_of(x))
        size = config.strengths[int(torch.randint(len(config.strengths), ()))]
        if config.style == "adversarial":
            moves = zip(own, style_gradient(model, k, x, loss), strict=True)
            mean, std = (start_of(value, config) + size * slope.sign() for value, slope in moves)
            changes[k] = (mean, std.clamp(min=0) if config.clamped else std)
        elif config.style == "random":
            changes[k] = tuple(start_of(value, config) + size * torch.randn_like(value) for value in own)
        elif config.style == "features":
            (slope,) = gradients(model, k, loss, (backbone.map_of(x),), lambda m, x=x: backbone.with_map(x, m))
            changes[k] = (size * slope.sign(),)
        else:
            share = torch.zeros(len(x), 1, device=x.device)
            if config.style == "mix":
                share = torch.distributions.Beta(MIX, MIX).sample((len(x), 1)).to(x)
            changes[k] = tuple(torch.lerp(b, a, share) for a, b in zip(own, style(backbone.map_of(y)), strict=True))
        if config.progressive:
            x = changed(backbone, x, changes[k])
    model.train(training)
    return changes


@torch.no_grad()
def attacked_pixels(
    model: FewShotNetwork, episode: Float[Tensor, "episode way item 3 h w"], label: Tensor, config: Config
) -> Float[Tensor, "episode way item 3 h w"]:
    """The episode after one step of the fast gradient sign method on its pixels."""
    training = model.training
    model.eval()
    size = config.strengths[int(torch.randint(len(config.strengths), ()))]
    (slope,) = gradients(model, -1, attack_loss(model, episode, label, config), (episode,), lambda e: e.flatten(0, 2))
    model.train(training)
    return episode + size * slope.sign()
