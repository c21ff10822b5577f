"""One run of an arm, its evaluation with the real sparse head, and the comparison of times."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from vislab.engine.detection import average_precision, summary
from vislab.engine.fit import State, initialise
from vislab.engine.measure import compared, interleaved, macs
from vislab.engine.outcome import Outcome
from vislab.nn.detection import expected_distance, flatten_levels
from vislab.ops import boxes as ops
from vislab.papers.perception.ceasc.card import PROFILES, Config
from vislab.papers.perception.ceasc.data import batch
from vislab.papers.perception.ceasc.losses import assign, counts
from vislab.papers.perception.ceasc.model import Detector, Prediction, anchors, build, head_macs
from vislab.papers.perception.ceasc.train import train

ITEMS = {"validation": "validation_items", "test": "test_items"}
PREPARE_FIELDS = (
    "pretraining", "pretraining_steps", "pretraining_rate", "depth", "trunk_widths", "width", "pyramid_groups", "strides", "reg_max",
    "anchor_scale", "classes", "source", "image_size", "image_width", "scale", "density", "max_objects", "optimizer",
    "batch_size", "weight_decay", "train_items", "warmup_steps", "head_blocks",
)  # fmt: skip
HEAD_SHARE = 82.3
"""Per cent of RetinaNet's cost that its head takes, by the paper's introduction."""


def prepare(config: Config, seed: int, accelerator: Any) -> dict[str, Tensor]:
    """The trunk and, from the world, the pyramid that all arms of a seed start from; the heads are theirs alone.

    ImageNet's weights are torchvision's and are downloaded where they are not yet; the world's come from a dense detector.
    """
    if config.pretraining == "imagenet":
        from torchvision import models

        weights = models.get_model(f"resnet{config.depth}", weights="IMAGENET1K_V1").state_dict()
        return {f"trunk.body.{n}": v for n, v in weights.items() if not n.startswith("fc.")}
    dense = dataclasses.replace(
        config, detector="gfl", head="dense", head_width=config.width, groups=config.width // 4,
        steps=config.pretraining_steps, learning_rate=config.pretraining_rate, weight_boxes=2.0, weight_sides=0.25,
    )  # fmt: skip
    state = train(dense, seed, accelerator)
    return {n: v.detach().clone() for n, v in state.network.state_dict().items() if not n.startswith("head.")}


def decode(config: Config, prediction: Prediction) -> tuple[Tensor, Tensor, Tensor]:
    """Detections of a batch: boxes (batch, max_detections, 4), scores, labels (-1 where there are fewer).

    The best anchors of every level go into suppression by class; an anchor counts with its best class.
    """
    sizes = [tuple(s.shape[-2:]) for s in prediction.scores]
    each = 1 if config.detector == "gfl" else 9
    places = anchors(config, sizes, prediction.scores[0].device)
    per_level = counts(config, sizes)
    scores, labels = flatten_levels(prediction.scores, each).sigmoid().max(dim=-1)
    sides = flatten_levels(prediction.sides, each)
    found, start = [], 0
    for level, count in enumerate(per_level):
        best = scores[:, start : start + count].topk(min(config.candidates, count), dim=1).indices + start
        values = sides.gather(1, best[..., None].expand(-1, -1, sides.shape[2]))
        if config.detector == "gfl":
            distances = expected_distance(values, config.reg_max + 1) * config.strides[level]
            box = ops.from_distances(ops.centres(places)[best], distances)
        else:
            box = ops.from_deltas(places[best], values)
        found.append((box, scores.gather(1, best), labels.gather(1, best)))
        start += count
    box, score, label = (torch.cat(part, dim=1) for part in zip(*found, strict=True))
    limit = torch.tensor([config.image_width, config.image_size] * 2, device=box.device)
    box = torch.minimum(box.clamp(min=0), limit)
    return select(config, box, score, label)


def select(config: Config, box: Tensor, score: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Threshold, suppression within each picture and class, and the best `max_detections` of each picture."""
    count = len(box)
    image, place = (score >= config.score_threshold).nonzero(as_tuple=True)
    flat, value, kind = box[image, place], score[image, place], label[image, place]
    kept = ops.suppress(flat, value, image * config.classes + kind, config.suppression)
    # suppression returns falling scores; a stable sort by picture keeps them falling within each
    kept = kept[image[kept].argsort(stable=True)]
    image = image[kept]
    rank = torch.arange(len(kept), device=box.device) - torch.searchsorted(image, image)
    top = rank < config.max_detections
    kept, image, rank = kept[top], image[top], rank[top]
    out_box = torch.zeros(count, config.max_detections, 4, device=box.device)
    out_score = torch.zeros(count, config.max_detections, device=box.device)
    out_label = torch.full((count, config.max_detections), -1, device=box.device)
    out_box[image, rank], out_score[image, rank], out_label[image, rank] = flat[kept], value[kept], kind[kept]
    return out_box, out_score, out_label


@torch.no_grad()
def evaluate(state: State, config: Config, seed: int, split: str = "test") -> dict[str, float]:
    """AP, the share of positions that the head computes, how many positives it computes at, and what it costs."""
    model = state.network.eval()
    parts, truths, active, covered = [], [], [], []
    sizes: Sequence[tuple[int, int]] = []
    for index in torch.arange(getattr(config, ITEMS[split])).split(config.eval_batch_size):
        items = batch(config, split, seed, index, state.device)
        prediction = model(items["image"])
        sizes = [tuple(s.shape[-2:]) for s in prediction.scores]
        parts.append([value.cpu() for value in decode(config, prediction)])
        truths.append([items["boxes"].cpu(), items["labels"].cpu()])
        active.append(torch.stack([m.sum(dim=(2, 3)) for m in prediction.masks], dim=1).cpu())
        covered.append(coverage(config, prediction, items))
    boxes, scores, labels = (torch.cat(p) for p in zip(*parts, strict=True))
    true_boxes, true_labels = (torch.cat(p) for p in zip(*truths, strict=True))
    found = summary(average_precision(boxes, scores, labels, true_boxes, true_labels, config.classes))
    computed = torch.cat(active).mean(dim=0)
    positions = sum(h * w for h, w in sizes)
    hits = torch.stack(covered).sum(dim=0)
    found["active"] = 100 * float(computed.sum()) / (2 * positions)
    found["coverage"] = 100 * float(hits[0] / hits[1].clamp(min=1))
    found["macs_head"] = head_macs(config, sizes, computed.tolist())
    image = torch.zeros(1, 3, config.image_size, config.image_width, device=state.device)
    return found | {"macs_total": found["macs_head"] + macs(lambda: model.features(image))}


def coverage(config: Config, prediction: Prediction, items: dict[str, Tensor]) -> Float[Tensor, "2"]:
    """Positive anchors at which the class branch computes, and all positive anchors."""
    sizes = [tuple(s.shape[-2:]) for s in prediction.scores]
    positive = assign(config, sizes, items["boxes"], items["labels"]) >= 0
    each = 1 if config.detector == "gfl" else 9
    masks = torch.cat([m[:, 0].flatten(1).repeat_interleave(each, dim=1) for m in prediction.masks], dim=1)
    return torch.stack([(masks * positive).sum(), positive.float().sum()]).cpu()


def run(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> Outcome:
    """Train and evaluate one arm; the first seed keeps its masks on some pictures and its curve."""
    state = train(config, seed, accelerator, shared)
    metrics = evaluate(state, config, seed)
    return Outcome(metrics, artifacts(state, config, seed) if seed == 0 else {})


@torch.no_grad()
def artifacts(state: State, config: Config, seed: int) -> dict[str, Tensor]:
    """The share computed at each level by both branches, the positives' share, and the training loss in 40 points."""
    index = torch.arange(min(config.test_items, config.eval_batch_size))
    items = batch(config, "test", seed, index, state.device)
    prediction = state.network.eval()(items["image"])
    sizes = [tuple(s.shape[-2:]) for s in prediction.scores]
    owner = assign(config, sizes, items["boxes"], items["labels"])
    parts = owner.split(counts(config, sizes), dim=1)
    active = torch.stack([m.mean(dim=(2, 3)).cpu() for m in prediction.masks], dim=1)
    positive = torch.stack([(p >= 0).float().mean(dim=1).cpu() for p in parts], dim=1)
    curve = torch.tensor([h["classes"] for h in state.history])
    width = max(1, len(curve) // 40)
    return {
        "shares": torch.cat([active, positive[..., None]], dim=-1),
        "curve": curve[: len(curve) // width * width].reshape(-1, width).mean(dim=1),
    }


def positive_masks(
    config: Config, sizes: Sequence[tuple[int, int]], items: dict[str, Tensor]
) -> list[Bool[Tensor, "batch 2 h w"]]:
    """Masks that are 1 exactly at the positives: the share that the masking loss aims at."""
    owner = assign(config, sizes, items["boxes"], items["labels"])
    parts = owner.split(counts(config, sizes), dim=1)
    grids = zip(parts, sizes, strict=True)
    return [rearrange(p >= 0, "b (h w) -> b 1 h w", h=s[0]).expand(-1, 2, -1, -1) for p, s in grids]


@torch.no_grad()
def compare(config: Config, accelerator: Any, shared: dict[str, Tensor] | None = None) -> Outcome:
    """Time of one picture through sparse and dense detectors, and the head's share of RetinaNet's cost at full size.

    At the paper's widths the masks are 1 at the positives, since a network of that size is not trained here.
    `seconds_ratio_masked` is a dense convolution times the mask, which saves nothing.
    `seconds_ratio_tutorial` is of networks of this profile's size, with the masks of random pictures' positives.
    """
    device = accelerator.device
    paper = PROFILES["paper"]
    # a picture of the paper's size takes some ten seconds on one core
    small = device.type == "cpu"
    side = {"image_size": 256, "image_width": 416, "max_objects": 100} if small else {}
    found = {}
    for suffix, base in (("", dataclasses.replace(paper, source="world", **side)), ("_tutorial", config)):
        if suffix == "" and config.steps < 10:
            # smoke: one level of everything, a tenth of the channels
            base = dataclasses.replace(base, width=64, head_width=64, depth=8, strides=(4, 8, 16), head_blocks=2)
        items = batch(base, "test", 0, torch.arange(1), device)
        models = {head: prepared(dataclasses.replace(base, head=head), device) for head in ("sparse", "dense")}
        sizes = [tuple(f.shape[-2:]) for f in models["sparse"].features(items["image"])]
        masks = positive_masks(base, sizes, items)
        calls = {
            "sparse": lambda m=models["sparse"], x=items["image"], k=masks: m.head(m.features(x), masks=k),
            "dense": lambda m=models["dense"], x=items["image"]: m(x),
        }
        if suffix == "":
            calls["masked"] = lambda m=models["sparse"], x=items["image"], k=masks: masked(m, x, k)
        times = interleaved(calls, repeats=10, warmup=1)
        found |= compared(f"seconds_ratio{suffix}", times["sparse"], times["dense"])
        if suffix == "":
            found |= compared("seconds_ratio_masked", times["masked"], times["dense"])
    share = retina_share()
    return Outcome(found | {"macs_share": share, "macs_gap": abs(share - HEAD_SHARE)})


def prepared(config: Config, device: torch.device) -> Detector:
    """A detector with random weights, ready for the test."""
    return initialise(build, config, 0).eval().to(device)


def masked(model: Detector, image: Tensor, masks: Sequence[Tensor]) -> list[Tensor]:
    """The sparse head as it is in training: all positions computed, then multiplied by the mask."""
    head = model.head
    found = []
    for x, mask in zip(model.features(image), masks, strict=True):
        found += [head.classify(x, mask[:, :1].float())[0], head.regress(x, mask[:, 1:].float())[0]]
    return found


def retina_share() -> float:
    """Per cent of the multiply-accumulates of RetinaNet with ResNet-18 and 512 channels that its dense head takes, at 1344 x 800."""
    config = dataclasses.replace(PROFILES["paper"], detector="retinanet", head="dense")
    with torch.device("meta"):
        model = build(config).eval()
        image = torch.zeros(1, 3, config.image_size, config.image_width)
        total = macs(lambda: model(image))
        trunk = macs(lambda: model.features(image))
    return 100 * (total - trunk) / total
