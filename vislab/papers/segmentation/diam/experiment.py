"""One base network a seed and fold layout, shared by all arms; each arm labels the same queries from the same supports."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from vislab.engine.episodes import candidates, draw
from vislab.engine.fit import State
from vislab.engine.outcome import Outcome
from vislab.engine.segmentation import confusion, group_iou
from vislab.nn.segmentation import PSPNet, resize
from vislab.papers.segmentation.diam.adapt import Classifier, Support, adapt, extended, prototypes, shrunk
from vislab.papers.segmentation.diam.card import Config
from vislab.papers.segmentation.diam.data import batch, novel_areas
from vislab.papers.segmentation.diam.train import train

ITEMS = {"train": "train_items", "validation": "validation_items", "test": "test_items"}
PREPARE_FIELDS = (
    "source", "classes", "novel", "fold", "depth", "width", "feature_width", "dropout", "skew", "ground", "clutter", "noise",
    "image_size", "crop_scale", "crop_angle", "pretrain_steps", "pretrain_items", "pretrain_learning_rate", "optimizer", "steps",
    "batch_size", "base_learning_rate", "weight_decay", "train_items",
)  # fmt: skip
NEVER = -1e4


def prepare(config: Config, seed: int, accelerator: Any) -> dict[str, Tensor]:
    """The weights of the base network that every arm starts from."""
    return {n: v.cpu() for n, v in train(config, seed, accelerator).network.state_dict().items()}


@dataclass(frozen=True)
class Maps:
    """Features of pictures and their label maps."""

    features: Float[Tensor, "picture feature h w"]
    label: Int[Tensor, "picture height width"]

    def __getitem__(self, rows: Tensor | slice) -> "Maps":
        return Maps(self.features[rows], self.label[rows])

    @property
    def small(self) -> Int[Tensor, "picture pixel"]:
        """The labels at the features' size."""
        return shrunk(self.label, self.features.shape[-2:])


@torch.no_grad()
def maps(model: PSPNet, config: Config, seed: int, split: str, index: Int[Tensor, " picture"], device: Any) -> Maps:
    """Features and labels of pictures of a split."""
    items = batch(config, split, seed, index, device)
    return Maps(
        torch.cat([model.features(part) for part in items["image"].split(config.eval_batch_size)]), items["label"]
    )


def support_of(config: Config, found: Maps) -> Support:
    """All pixels of the support pictures, base classes merged into background."""
    base = config.classes - config.novel
    label = found.small.flatten()
    label = torch.where(label <= base, 0, label)
    return Support(found.features.transpose(0, 1).flatten(1), label, config.shots)


def supports(state: State, config: Config, seed: int, split: str) -> Iterator[tuple[Support, set[int]]]:
    """Each draw's supports, and the pictures of `split` that are no queries for it since they are among them."""
    source = "train" if config.supports == "train" else split
    suitable = candidates(novel_areas(config, seed, source, getattr(config, ITEMS[source])), config.least_area)
    for number in range(config.draws):
        chosen = draw(suitable, config.shots, seed, number)
        found = maps(state.network, config, seed, source, chosen.flatten(), state.device)
        yield support_of(config, found), set(chosen.flatten().tolist()) if source == split else set()


def classifiers(state: State, config: Config, support: Support, queries: int) -> Classifier:
    """Where a draw begins: the base classifier with the prototypes, or what the config's head puts in their place."""
    layer = state.network.classifier
    weight, bias = layer.weight.detach()[..., 0, 0], layer.bias.detach()
    novel = config.prototype_scale * prototypes(support, len(weight), config.novel)
    found = extended(weight, bias, novel, queries)
    if config.head == "base":
        found.bias[:, len(weight) :] = NEVER
    return found


def logits(
    config: Config, found: Classifier, query: Float[Tensor, "query feature pixel"]
) -> Float[Tensor, "query class pixel"]:
    """The classifiers' logits; a cosine head sees novel classes through the direction of the features alone."""
    plain = found.logits(query)
    if config.head != "cosine":
        return plain
    return torch.cat([plain[:, : found.base], found.logits(F.normalize(query, dim=1))[:, found.base :]], dim=1)


def predicted(
    scores: Float[Tensor, "query class pixel"], size: tuple[int, int], side: int
) -> Int[Tensor, "query side side"]:
    """Classes at the size of the picture: probabilities on the feature map's grid are resized, then the largest is taken."""
    return resize(scores.softmax(dim=1).unflatten(-1, size), (side, side)).argmax(dim=1)


def groups(config: Config) -> dict[str, range]:
    """Places of the base classes, without background, and of the novel ones."""
    base = config.classes - config.novel
    return {"base": range(1, base + 1), "novel": range(base + 1, config.classes + 1)}


def matrices(state: State, config: Config, seed: int, split: str) -> Int[Tensor, "draw class class"]:
    """One confusion matrix a draw of supports, over all queries, whatever classes they show."""
    state.network.eval()
    drawn = list(supports(state, config, seed, split))
    found = torch.zeros(len(drawn), config.classes + 1, config.classes + 1, dtype=torch.long)
    for index in torch.arange(getattr(config, ITEMS[split])).split(config.eval_batch_size):
        here = maps(state.network, config, seed, split, index, state.device)
        for k, (support, taken) in enumerate(drawn):
            rows = torch.tensor([row for row, item in enumerate(index.tolist()) if item not in taken], dtype=torch.long)
            queries = here[rows.to(state.device)]
            query = queries.features.flatten(2)
            begun = classifiers(state, config, support, len(rows))
            adapted = adapt(config, begun, support, query, queries.small)
            with torch.no_grad():
                told = predicted(logits(config, adapted, query), queries.features.shape[-2:], queries.label.shape[-1])
            found[k] += confusion(told, queries.label, config.classes + 1).cpu()
    return found


def scores(config: Config, matrix: Int[Tensor, "class class"]) -> dict[str, float]:
    """Mean IoU of base classes, of novel classes, and the mean of the two, percent."""
    found = group_iou(matrix, groups(config))
    return found | {"miou_mean": (found["miou_base"] + found["miou_novel"]) / 2}


def averaged(found: list[dict[str, float]]) -> dict[str, float]:
    """The mean of every score over the draws of supports."""
    return {name: sum(one[name] for one in found) / len(found) for name in found[0]}


def evaluate(state: State, config: Config, seed: int, split: str = "test") -> dict[str, float]:
    """The scores, averaged over the draws of supports."""
    return averaged([scores(config, matrix) for matrix in matrices(state, config, seed, split)])


def run(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> Outcome:
    """Label all queries with one arm; the first seed keeps the scores of every draw and, where it optimises, the course of it."""
    state = train(config, seed, accelerator, shared)
    found = [scores(config, matrix) for matrix in matrices(state, config, seed, "test")]
    return Outcome(averaged(found), artifacts(state, config, seed, found) if seed == 0 else {})


def artifacts(state: State, config: Config, seed: int, found: list[dict[str, float]]) -> dict[str, Tensor]:
    """`draws` (draw, [base, novel]) and, after every tenth step, `way` (step, [base, novel]) of the first draw on the first queries."""
    kept = {"draws": torch.tensor([[one["miou_base"], one["miou_novel"]] for one in found])}
    if config.adapt_steps:
        kept["way"] = course(state, config, seed)
    return kept


def course(state: State, config: Config, seed: int, queries: int = 40, every: int = 10) -> Float[Tensor, "step 2"]:
    """Base and novel mIoU on the first test queries, along the optimisation."""
    support, taken = next(supports(state, config, seed, "test"))
    chosen = [k for k in range(config.test_items) if k not in taken][:queries]
    here = maps(state.network.eval(), config, seed, "test", torch.tensor(chosen), state.device)
    query, way = here.features.flatten(2), []

    def look(step: int, now: Classifier, pi: Tensor) -> None:
        if step % every == 0 or step == config.adapt_steps:
            with torch.no_grad():
                told = predicted(logits(config, now, query), here.features.shape[-2:], here.label.shape[-1])
            one = scores(config, confusion(told, here.label, config.classes + 1))
            way.append([one["miou_base"], one["miou_novel"]])

    adapt(config, classifiers(state, config, support, len(query)), support, query, here.small, look)
    return torch.tensor(way)
