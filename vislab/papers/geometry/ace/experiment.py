"""One run of an arm: mapping against the clock, relocalisation of the queries; the cost of a step and of a map."""

import dataclasses
import time
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from vislab.engine.fit import State
from vislab.engine.measure import compared, interleaved, parameters
from vislab.engine.outcome import Outcome
from vislab.ops import counter
from vislab.ops.pnp import robust_pose
from vislab.ops.reprojection import cells, coordinate_loss
from vislab.ops.rotations import geodesic
from vislab.papers.geometry.ace.card import PROFILES, TARGET_RATE, Config
from vislab.papers.geometry.ace.data import batch, mapping
from vislab.papers.geometry.ace.model import Regressor, build
from vislab.papers.geometry.ace.train import begin, fill_buffer, step, targets, total_steps, train, train_ensemble

PREPARE_FIELDS = ("source", "scene", "focal", "image_size", "train_items")
ITEMS = {"validation": "validation_items", "test": "test_items"}


def prepare(config: Config, seed: int, accelerator: Any) -> dict[str, Tensor]:
    """The mapping pictures of the world, which all arms of a seed share; nothing for a real scene."""
    return mapping(config, seed, accelerator.device) if config.source == "world" else {}


@torch.no_grad()
def relocalise(
    model: Regressor, grey: Float[Tensor, "batch 1 h w"], config: Config, seed: int, index: Tensor
) -> tuple[Float[Tensor, "batch 3 3"], Float[Tensor, "batch 3"], Float[Tensor, " batch"]]:
    """Camera-from-world rotations, centres and soft inliers of queries: scene coordinates, hypotheses, refinement (section 3).

    `index` names the random draws of each query.
    """
    point = model.eval()(grey).flatten(2).transpose(1, 2)
    pixel = cells(*grey.shape[-2:], model.backbone.stride, grey.device).expand(len(grey), -1, -1)
    return robust_pose(point, pixel, config.focal, config.inlier_pixels, seed, index, config.hypotheses)


def pose_errors(
    rotation: Tensor, centre: Tensor, items: dict[str, Tensor]
) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
    """Metres between camera centres, degrees between rotations."""
    return (centre - items["centre"]).norm(dim=1), geodesic(rotation, items["rotation"]).rad2deg()


def queries(config: Config, split: str, seed: int, device: torch.device | str) -> dict[str, Tensor]:
    """All queries of a split, as `batch` gives them."""
    chunks = torch.arange(getattr(config, ITEMS[split])).split(50)
    parts = [batch(config, split, seed, index, device) for index in chunks]
    return {name: torch.cat([p[name] for p in parts]) for name in parts[0]}


def errors(models: list[Regressor], query: dict[str, Tensor], config: Config, seed: int) -> tuple[Tensor, Tensor]:
    """Errors of queries, metres and degrees; of several models the one with the most inliers answers (section 4.2)."""
    metres, degrees = [], []
    for index in torch.arange(len(query["centre"]), device=query["centre"].device).split(config.eval_batch_size):
        part = {name: value[index] for name, value in query.items()}
        answers = [relocalise(model, part["grey"], config, seed, index) for model in models]
        rotation, centre, inliers = (torch.stack(values) for values in zip(*answers, strict=True))
        best = (inliers.argmax(dim=0), torch.arange(len(index), device=index.device))
        found = pose_errors(rotation[best], centre[best], part)
        metres.append(found[0].cpu())
        degrees.append(found[1].cpu())
    return torch.cat(metres), torch.cat(degrees)


def summary(metres: Tensor, degrees: Tensor, config: Config) -> dict[str, float]:
    """Share of queries within both limits, percent; median errors, centimetres and degrees."""
    within = (metres < config.within_metres) & (degrees < config.within_degrees)
    return {
        "accuracy_pose": 100 * float(within.float().mean()),
        "error_position": 100 * float(metres.median()),
        "error_rotation": float(degrees.median()),
    }


def evaluate(state: State, config: Config, seed: int, split: str = "test") -> dict[str, float]:
    """Relocalisation of a split's queries."""
    return summary(*errors([state.network], queries(config, split, seed, state.device), config, seed), config)


def nearest_frame(query: dict[str, Tensor], items: dict[str, Tensor], config: Config) -> float:
    """Rate, percent, of giving each query the best pose that any mapping picture has: what perfect image retrieval would reach.

    Queries beside the mapping walk would make it high.
    """
    metres = torch.cdist(query["centre"], items["centre"])
    degrees = geodesic(query["rotation"][:, None], items["rotation"][None]).rad2deg()
    within = (metres < config.within_metres) & (degrees < config.within_degrees)
    return 100 * float(within.any(dim=1).float().mean())


class Clock:
    """Seconds of mapping without those of looking; process time on a CPU, so that the machine's other work does not count."""

    def __init__(self, device: torch.device):
        self.device, self.total = device, 0.0
        self.begin = self.now()

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            return time.perf_counter()
        return time.process_time()

    def pause(self) -> float:
        """Stop; the seconds so far."""
        self.total += self.now() - self.begin
        return self.total

    def resume(self) -> None:
        self.begin = self.now()


def run(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> Outcome:
    """Map against the clock, filling of the buffer included, and relocalise the test queries.

    Now and then the clock stops, and the rate on validation queries is looked at for the time to reach the target.
    """
    items = shared if shared else mapping(config, seed, accelerator.device)
    known, query = (queries(config, split, seed, accelerator.device) for split in ("validation", "test"))
    nearest = {"accuracy_nearest": nearest_frame(query, items, config)}
    # what torch loads on its first step belongs to no arm
    train(
        dataclasses.replace(config, steps=1, step_factor=1.0, buffer_items=config.features_a_step),
        seed,
        accelerator,
        items,
    )
    clock = Clock(accelerator.device)
    if config.heads > 1:
        states = train_ensemble(config, seed, accelerator, items)
        seconds = {"seconds_mapping": clock.pause()}
        found = errors([s.network for s in states], query, config, seed)
        return Outcome(summary(*found, config) | seconds | nearest, {})
    way: list[list[float]] = []
    looks = {round(k * total_steps(config) / config.looks) for k in range(1, config.looks + 1)}

    def look(state: State) -> None:
        if state.step in looks:
            seconds = clock.pause()
            found = summary(*errors([state.network], known, config, seed), config)
            way.append([state.step, seconds, found["accuracy_pose"], found["error_position"]])
            state.model.train()
            clock.resume()

    state = train(config, seed, accelerator, items, after=look)
    total = clock.pause()
    reached = [seconds for _, seconds, rate, _ in way if rate >= TARGET_RATE]
    metres, degrees = errors([state.network], query, config, seed)
    metrics = summary(metres, degrees, config) | nearest
    metrics |= {
        "accuracy_way": max(rate for _, _, rate, _ in way),
        "seconds_to_rate": reached[0] if reached else total,
        "seconds_mapping": total,
    }
    if seed != 0:
        return Outcome(metrics)
    with torch.no_grad():
        coordinates = state.network.eval()(query["grey"][:2]).half().cpu()
    return Outcome(
        metrics, {"way": torch.tensor(way), "coordinates": coordinates, "errors": torch.stack([metres, degrees])}
    )


def gradient_cosines(
    model: Regressor, buffer: dict[str, Tensor], pictures: dict[str, Tensor], config: Config, seed: int, pairs: int = 8
) -> tuple[float, float]:
    """Mean cosine between the head's gradients of successive batches: of shuffled features, and of one picture each (section 3.1).

    All batches see the same weights and a clamp at its start.
    """
    tau = config.tau_largest + config.tau_smallest

    def gradient(part: dict[str, Tensor]) -> Tensor:
        loss, _ = coordinate_loss(**targets(model, part, config), tau=tau, shape=config.loss)
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.head.parameters()))])

    def mean(parts: dict[str, Tensor], size: int) -> float:
        count = len(parts["centre"])
        order = counter.permutation(seed, "evaluate", torch.tensor([0]), "cosines", count)[0].to(parts["centre"].device)
        size = min(size, count // pairs)
        with counter.scope(seed, "noise", "cosines"):
            found = [gradient({n: v[rows] for n, v in parts.items()}) for rows in order.split(size)[:pairs]]
        return sum(float(F.cosine_similarity(a, b, dim=0)) for a, b in zip(found, found[1:], strict=False)) / (
            len(found) - 1
        )

    return mean(buffer, config.features_a_step), mean(pictures, 1)


def compare(config: Config, accelerator: Any, shared: dict[str, Tensor] | None = None) -> Outcome:
    """Time of a step on the buffer over that of one on a whole picture, in turns; bytes of a map over a whole network's, paper scale.

    Earlier networks are stored in single precision, maps in half; `bytes_ratio_half` has both in half.
    """
    items = shared if shared else mapping(config, 0, accelerator.device)
    ours = begin(config, 0, accelerator, items)
    theirs = begin(dataclasses.replace(config, regime="end_to_end"), 0, accelerator, items)
    few = dataclasses.replace(config, buffer_items=config.features_a_step)
    features = fill_buffer(ours.network.backbone, items, few, 0)
    picture = {name: value[:1] for name, value in items.items()}

    def one(state: State, what: dict[str, Tensor]) -> None:
        with counter.scope(0, "noise", "compare"):
            step(state, what)

    times = interleaved({"ours": lambda: one(ours, features), "theirs": lambda: one(theirs, picture)}, repeats=15)
    with torch.device("meta"):
        whole = build(PROFILES["paper"])
    share = parameters(whole.head) / parameters(whole)
    ratios = {"bytes_ratio": share / 2, "bytes_ratio_half": share}
    return Outcome(ratios | compared("seconds_ratio", times["ours"], times["theirs"]))
