"""The paper's inference (section 4): prototypes, an estimate of the class proportions, and the optimisation of a classifier a query.

Pixels are those of the feature map, flattened.
Labels are places in the classifier: 0 for background, then base classes, then novel ones; 255 is ignored.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from vislab.engine.segmentation import IGNORED
from vislab.papers.segmentation.diam.card import Config

EPS = 1e-10


@dataclass(frozen=True)
class Classifier:
    """Linear classifiers of pixel features, one a query; their first `base` classes are background and base classes."""

    weight: Float[Tensor, "query class feature"]
    bias: Float[Tensor, "query class"]
    base: int

    def logits(self, features: Float[Tensor, "*query feature pixel"]) -> Float[Tensor, "query class pixel"]:
        """Logits of every query's own pixels, or of the same pixels (feature, pixel) under every query's classifier."""
        return self.weight @ features + self.bias[..., None]

    def probability(self, features: Float[Tensor, "*query feature pixel"]) -> Float[Tensor, "query class pixel"]:
        """Softmax of the logits over all classes."""
        return self.logits(features).softmax(dim=1)


@dataclass(frozen=True)
class Support:
    """The pixels of all support pictures, side by side."""

    features: Float[Tensor, "feature pixel"]
    label: Int[Tensor, " pixel"]
    """0 for background and base classes alike, else the novel class; 255 is ignored."""
    shots: int


def shrunk(label: Int[Tensor, "picture height width"], size: tuple[int, int]) -> Int[Tensor, "picture pixel"]:
    """Label maps at the size of the feature map, nearest pixel."""
    return F.interpolate(label[:, None].float(), size=size, mode="nearest").long().flatten(1)


def valid_mean(value: Tensor, valid: Bool[Tensor, "..."]) -> Tensor:
    """Mean of `value` over the valid entries of the last dimension."""
    return (value * valid).sum(dim=-1) / (valid.sum(dim=-1) + EPS)


def prototypes(support: Support, base: int, novel: int) -> Float[Tensor, "novel feature"]:
    """Mean feature of each novel class's support pixels, of unit length."""
    mask = (support.label == torch.arange(base, base + novel, device=support.label.device)[:, None]).float()
    mean = mask @ support.features.T / (mask.sum(dim=1, keepdim=True) + EPS)
    return mean / (mean.norm(dim=1, keepdim=True) + EPS)


def extended(
    weight: Float[Tensor, "base feature"],
    bias: Float[Tensor, " base"],
    novel: Float[Tensor, "novel feature"],
    queries: int,
) -> Classifier:
    """The trained base classifier and the prototypes under it with bias 0, one copy a query."""
    rows = torch.cat([weight, novel]).repeat(queries, 1, 1)
    return Classifier(rows, torch.cat([bias, bias.new_zeros(len(novel))]).repeat(queries, 1), len(weight))


def true_proportions(label: Int[Tensor, "query pixel"], classes: int) -> Float[Tensor, "query class"]:
    """Shares of the classes among each query's valid pixels."""
    valid = label != IGNORED
    return valid_mean(F.one_hot(torch.where(valid, label, 0), classes).mT.float(), valid[:, None])


def proportions(
    kind: str,
    classifier: Classifier,
    query: Float[Tensor, "query feature pixel"],
    valid: Bool[Tensor, "query pixel"],
    truth: Float[Tensor, "query class"],
) -> Float[Tensor, "query class"]:
    """What the marginal is drawn to (section 4.2).

    The classifier's own mean prediction ("self"), the same among the classes that are there ("image"), equal shares ("uniform"),
    or the true ones ("true").
    """
    if kind == "true":
        return truth
    if kind == "uniform":
        return torch.full_like(truth, 1 / truth.shape[1])
    logits = classifier.logits(query)
    if kind == "image":
        logits = logits.masked_fill((truth == 0)[..., None], -torch.inf)
    return valid_mean(logits.softmax(dim=1), valid[:, None])


def support_loss(
    probability: Float[Tensor, "query class pixel"], support: Support, base: int, background: float
) -> Float[Tensor, " query"]:
    """Cross-entropy on the support pixels: all base classes count as background, whose pixels weigh `background`."""
    valid = support.label != IGNORED
    label = torch.where(valid, support.label, 0)
    merged = probability[:, :base].sum(dim=1)
    own = probability.gather(1, label.expand(len(probability), 1, -1))[:, 0]
    told = torch.where(label == 0, merged, own)
    return valid_mean(-torch.where(label == 0, background, 1.0) * torch.log(told + EPS), valid)


def marginal_loss(
    probability: Float[Tensor, "query class pixel"],
    valid: Bool[Tensor, "query pixel"],
    pi: Float[Tensor, "query class"],
) -> Float[Tensor, " query"]:
    """KL divergence of a query's mean prediction from the estimated proportions."""
    marginal = valid_mean(probability, valid[:, None])
    return (marginal * torch.log(EPS + marginal / (pi + EPS))).sum(dim=1)


def entropy_loss(
    probability: Float[Tensor, "query class pixel"], valid: Bool[Tensor, "query pixel"]
) -> Float[Tensor, " query"]:
    """Mean entropy of the pixels' predictions."""
    return valid_mean(-(probability * torch.log(probability + EPS)).sum(dim=1), valid)


def distillation_loss(
    probability: Float[Tensor, "query class pixel"],
    before: Float[Tensor, "query base pixel"],
    valid: Bool[Tensor, "query pixel"],
) -> Float[Tensor, " query"]:
    """KL divergence of the prediction, its novel classes merged into background, from that of the frozen base classifier."""
    base = before.shape[1]
    ground = probability[:, :1] + probability[:, base:].sum(dim=1, keepdim=True)
    merged = torch.cat([ground, probability[:, 1:base]], dim=1)
    return valid_mean((merged * torch.log(EPS + merged / (EPS + before))).sum(dim=1), valid)


Watch = Callable[[int, Classifier, Tensor], None]


def adapt(
    config: Config,
    classifier: Classifier,
    support: Support,
    query: Float[Tensor, "query feature pixel"],
    label: Int[Tensor, "query pixel"],
    watch: Watch | None = None,
) -> Classifier:
    """The classifiers after `adapt_steps` of SGD on the sum of every query's own loss, so that no query sees another.

    `label` says which pixels are ignored; its classes are read for the proportions "true" and "image" alone.
    `watch(step, classifiers, pi)` sees them before every step and after the last.
    """
    base, queries = classifier.base, len(query)
    valid, truth = label != IGNORED, true_proportions(label, classifier.weight.shape[1])
    alone = config.weight_marginal == config.weight_entropy == config.weight_distillation == 0
    with torch.no_grad():
        pi = proportions(config.proportions, classifier, query, valid, truth)
        before = classifier.logits(query)[:, :base].softmax(dim=1)
    background = config.background_weight[0 if support.shots == 1 else 1]
    rows = slice(1 if alone else None)  # a loss that sees no query needs no copy a query
    parts = (slice(base), slice(base, None))
    weights = [classifier.weight[rows, part].clone() for part in parts]
    biases = [classifier.bias[rows, part].clone() for part in parts]
    moved = [*weights, *biases] if config.update_base else [weights[1], biases[1]]
    optimizer = torch.optim.SGD([value.requires_grad_() for value in moved], config.learning_rate)

    def joined() -> Classifier:
        return Classifier(torch.cat(weights, dim=1), torch.cat(biases, dim=1), base)

    for step in range(config.adapt_steps):
        now = joined()
        if watch is not None:
            watch(step, now, pi)
        loss = config.weight_support * support_loss(now.probability(support.features), support, base, background)
        if not alone:
            probability = now.probability(query)
            loss = loss + config.weight_marginal * marginal_loss(probability, valid, pi)
            loss = loss + config.weight_entropy * entropy_loss(probability, valid)
            loss = loss + config.weight_distillation * distillation_loss(probability, before, valid)
        optimizer.zero_grad(set_to_none=True)
        loss.sum().backward()
        optimizer.step()
        if step + 1 == config.refresh_at and config.proportions == "self" and not alone:
            with torch.no_grad():
                pi = proportions("self", joined(), query, valid, truth)
    with torch.no_grad():
        last = joined()
    found = Classifier(last.weight.expand(queries, -1, -1), last.bias.expand(queries, -1), base)
    if watch is not None:
        watch(config.adapt_steps, found, pi)
    return found
