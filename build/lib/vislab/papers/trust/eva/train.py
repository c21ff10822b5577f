"""Training the classifier: cross-entropy, with a regulariser that makes it worth certifying."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from vislab.engine.fit import State, cosine, descend, fit, initialise, start
from vislab.errors import UserError
from vislab.nn.bounds import differences, flatten_layers, intervals
from vislab.papers.trust.eva.card import Config
from vislab.papers.trust.eva.data import batch
from vislab.papers.trust.eva.model import build

ATTACK_STEPS = 3


def begin(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> State:
    """Network and Adam; the shared classifier's weights where there are some."""
    model = initialise(build, config, seed)
    if shared is not None:
        model.load_state_dict(shared)
    elif config.released_weights and config.source == "imagenet":
        model.load_state_dict(released(config))
    optimizer = torch.optim.AdamW(model.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    return start(config, seed, accelerator, model, optimizer, cosine(max(1, config.steps), config.warmup_steps))


def released(config: Config) -> dict[str, Tensor]:
    """torchvision's ImageNet weights of VGG-16 under our names, out of torch's cache; raises UserError where they are missing."""
    from torchvision.models import VGG16_Weights

    try:
        state = VGG16_Weights.IMAGENET1K_V1.get_state_dict(progress=False)
    except OSError as error:
        raise UserError("torchvision's vgg16-397923af.pth is not in torch's hub cache and cannot be fetched") from error
    return {name.replace("features.", "1.").replace("classifier.", "3."): value for name, value in state.items()}


def perturbed(
    model: nn.Module, images: Float[Tensor, "batch channel h w"], labels: Int[Tensor, " batch"], eps: float
) -> Float[Tensor, "batch channel h w"]:
    """Pictures moved by a few sign steps towards a higher loss, within eps, from a random start in the step's scope."""
    lower, upper = (images - eps).clamp(0, 1), (images + eps).clamp(0, 1)
    x = torch.lerp(lower, upper, torch.rand_like(images))
    for _ in range(ATTACK_STEPS):
        x = x.detach().requires_grad_(True)
        (slope,) = torch.autograd.grad(F.cross_entropy(model(x), labels), x)
        x = torch.minimum(torch.maximum(x + 0.7 * eps * slope.sign(), lower), upper)
    return x.detach()


def worst_logits(
    model: nn.Sequential, images: Float[Tensor, "batch channel h w"], labels: Int[Tensor, " batch"], eps: float
) -> Float[Tensor, "batch classes"]:
    """Interval bounds of every class's logit minus the label's, zero at the label: the logits of certified training (IBP)."""
    layers = flatten_layers(model)
    lower, upper = intervals(layers[:-1], ((images - eps).clamp(0, 1), (images + eps).clamp(0, 1)))[-1]
    last, rows = layers[-1], differences(labels, layers[-1].out_features)
    merged, offset = rows @ last.weight, rows @ last.bias
    high = (merged.clamp(min=0) * upper[:, None] + merged.clamp(max=0) * lower[:, None]).sum(dim=-1) + offset
    found = torch.zeros(len(labels), last.out_features, device=images.device)
    place = rows.clamp(min=0).argmax(dim=-1)
    return found.scatter(1, place, high)


def step(state: State, items: dict[str, Tensor]) -> dict[str, float]:
    """One step of AdamW on the mean of the plain loss and the regulariser's, whose eps grows over the first half."""
    config, model = state.config, state.model
    images, labels = items["image"], items["label"]
    plain = F.cross_entropy(model(images), labels)
    if config.robust == "none":
        return descend(state, {"loss": plain})
    eps = config.train_eps * min(1.0, 2 * (state.step + 1) / max(1, config.steps))
    if config.robust == "adversarial":
        guard = F.cross_entropy(model(perturbed(model, images, labels, eps)), labels)
    else:
        bare = state.accelerator.unwrap_model(model)
        guard = F.cross_entropy(worst_logits(bare, images, labels, eps), labels)
    loss = (1 - config.weight_robust) * plain + config.weight_robust * guard
    return descend(state, {"loss": loss, "plain": plain, "robust": guard})


def train(
    config: Config,
    seed: int,
    accelerator: Any,
    shared: dict[str, Tensor] | None = None,
    progress: bool = False,
    checkpoint: str | None = None,
) -> State:
    """The loop; a shared classifier is trained already and explained as it is."""
    state = begin(config, seed, accelerator, shared)
    if shared is not None:
        state.step = config.steps
        return state
    if config.source == "world":
        pool = batch(config, "train", seed, torch.arange(config.train_items), accelerator.device)

        def load(index: Tensor) -> dict[str, Tensor]:
            return {name: value[index] for name, value in pool.items()}
    else:

        def load(index: Tensor) -> dict[str, Tensor]:
            return batch(config, "train", seed, index, accelerator.device)

    return fit(state, step, load, checkpoint=checkpoint, progress=progress)
