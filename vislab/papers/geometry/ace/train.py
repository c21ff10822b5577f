"""Mapping a scene: the buffer of shuffled features, the head's training, and the rivals that see one picture a step."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from vislab import zoo
from vislab.engine.fit import State, descend, fit, initialise, start
from vislab.engine.weights import zoo_folder
from vislab.errors import UserError
from vislab.nn.scene_coordinates import Backbone
from vislab.ops import counter
from vislab.ops.reprojection import cells, coordinate_loss, threshold
from vislab.papers.geometry.ace.card import Config
from vislab.papers.geometry.ace.data import augmented, centres, mapping
from vislab.papers.geometry.ace.model import Regressor, build
from vislab.papers.geometry.ace.official import from_official

RELEASED = "ace_encoder_pretrained.safetensors"


def total_steps(config: Config) -> int:
    """Optimisation steps of a run."""
    return max(1, round(config.steps * config.step_factor))


def cycle(config: Config) -> Callable[[int], float]:
    """One cycle: up from `first_rate` over the first 30% of the steps, then a cosine down to a ten-thousandth of the start."""
    steps, last = total_steps(config), config.first_rate * 1e-4

    def between(low: float, share: float) -> float:
        return low + (1 - low) * 0.5 * (1 - math.cos(math.pi * share))

    def factor(step: int) -> float:
        share = min(1.0, step / steps)
        return between(config.first_rate, share / 0.3) if share < 0.3 else between(last, (1 - share) / 0.7)

    return factor


def load_backbone(model: Regressor, config: Config) -> None:
    """Weights that know other scenes, by the config's choice; "random" leaves them as they were drawn.

    Raises UserError where a file is missing or damaged.
    """
    if config.backbone == "zoo":
        model.backbone.load_state_dict(zoo.load("scene_features").state_dict())
    elif config.backbone == "released":
        path = zoo_folder() / RELEASED
        if not path.exists():
            raise UserError(
                f"the released backbone is missing: save the tensors of ace_encoder_pretrained.pt of nianticlabs/ace as {path}"
            )
        try:
            state = load_file(path)
        except SafetensorError as error:
            raise UserError(f"the released backbone {path} is damaged: {error}") from error
        names = from_official({f"encoder.{name}": value for name, value in state.items()})
        model.backbone.load_state_dict({name.removeprefix("backbone."): value for name, value in names.items()})


def begin(
    config: Config,
    seed: int,
    accelerator: Any,
    shared: dict[str, Tensor] | None = None,
    rows: Tensor | None = None,
) -> State:
    """Network, AdamW, one cycle; the backbone is frozen unless the regime is end to end; the mean camera centre is the head's origin.

    `rows` names the mapping pictures that count, all by default.
    """
    model = initialise(build, config, seed)
    load_backbone(model, config)
    centre = shared["centre"] if shared else centres(config, seed)
    model.head.mean.copy_(centre[rows if rows is not None else slice(None)].mean(dim=0)[None, :, None, None])
    model.backbone.requires_grad_(config.regime == "end_to_end")
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, config.learning_rate, weight_decay=config.weight_decay)
    return start(config, seed, accelerator, model, optimizer, cycle(config))


def real_cells(real: Bool[Tensor, "batch 1 h w"], stride: int) -> Bool[Tensor, "batch cell"]:
    """Cells whose middle pixel is real."""
    return real[:, 0, stride // 2 :: stride, stride // 2 :: stride].flatten(1)


@torch.no_grad()
def fill_buffer(
    backbone: Backbone, items: dict[str, Tensor], config: Config, seed: int, chunk: int = 20
) -> dict[str, Tensor]:
    """Features of augmented mapping pictures with target pixel, pose and focal length: `buffer_items` of them (section 3.1).

    Goes over the pictures in rounds, each in its own order; of each it draws `samples_a_picture` real cells with replacement.
    Features are kept in half precision.
    """
    device, count, each = items["grey"].device, len(items["grey"]), config.samples_a_picture
    pixel = cells(*items["grey"].shape[-2:], backbone.stride, device)
    buffer: dict[str, Tensor] = {}
    filled = visit = 0
    while filled < config.buffer_items:
        order = counter.permutation(seed, "batches", torch.tensor([visit]), "buffer", count)[0].to(device)
        for number, rows in enumerate(order.split(chunk)):
            with counter.scope(seed, "noise", f"buffer {visit} {number}"):
                changed, focal, real = augmented({name: value[rows] for name, value in items.items()}, config)
                drawn = torch.multinomial(real_cells(real, backbone.stride).float(), each, replacement=True)
            features = backbone(changed["grey"]).flatten(2)
            taken = torch.gather(features, 2, drawn[:, None].expand(-1, features.shape[1], -1))
            part = {
                "feature": taken.transpose(1, 2).flatten(0, 1).half(),
                "pixel": pixel[drawn].flatten(0, 1),
                "rotation": changed["rotation"].repeat_interleave(each, 0),
                "centre": changed["centre"].repeat_interleave(each, 0),
                "focal": focal.repeat_interleave(each, 0),
            }
            end = min(filled + len(part["pixel"]), config.buffer_items)
            for name, value in part.items():
                if name not in buffer:
                    buffer[name] = value.new_empty(config.buffer_items, *value.shape[1:])
                buffer[name][filled:end] = value[: end - filled]
            filled = end
            if filled == config.buffer_items:
                break
        visit += 1
    return buffer


def targets(model: Regressor, items: dict[str, Tensor], config: Config) -> dict[str, Tensor]:
    """Predicted points with pixel, pose and focal length: of buffer entries, or of all real cells of augmented pictures."""
    if "feature" in items:
        point = model.head(items["feature"].float().T[None, ..., None])
        return {"point": point[0, ..., 0].T} | {name: items[name] for name in ("pixel", "rotation", "centre", "focal")}
    changed, focal, real = augmented(items, config)
    prediction = model(changed["grey"]).flatten(2)
    pixel = cells(*changed["grey"].shape[-2:], model.backbone.stride, prediction.device)
    picture, cell = real_cells(real, model.backbone.stride).nonzero(as_tuple=True)
    return {
        "point": prediction[picture, :, cell], "pixel": pixel[cell], "rotation": changed["rotation"][picture],
        "centre": changed["centre"][picture], "focal": focal[picture],
    }  # fmt: skip


def step(state: State, items: dict[str, Tensor]) -> dict[str, float]:
    """One step on buffer entries, or, where `items` holds pictures, on all their cells: the clamped loss (section 3.2)."""
    config = state.config
    with state.accelerator.autocast():
        found = targets(state.accelerator.unwrap_model(state.model), items, config)
    tau = threshold(state.step / total_steps(config), config.schedule, config.tau_largest, config.tau_smallest)
    loss, valid = coordinate_loss(**found | {"point": found["point"].float()}, tau=tau, shape=config.loss)
    return descend(state, {"loss": loss, "valid": valid})


def train(
    config: Config,
    seed: int,
    accelerator: Any,
    shared: dict[str, Tensor] | None = None,
    progress: bool = False,
    checkpoint: str | None = None,
    after: Callable[[State], None] | None = None,
    rows: Tensor | None = None,
) -> State:
    """Fill the buffer and train the head on it; or train picture by picture.

    `shared` holds the mapping pictures; `rows` limits them (ensembles).
    """
    items = shared if shared else mapping(config, seed, accelerator.device)
    state = begin(config, seed, accelerator, items, rows)
    if rows is not None:
        items = {name: value[rows] for name, value in items.items()}
    size = config.batch_size
    if config.regime == "buffer":
        items = fill_buffer(state.network.backbone, items, config, seed)
        size = config.features_a_step

    def load(index: Tensor) -> dict[str, Tensor]:
        return {name: value[index] for name, value in items.items()}

    return fit(
        state, step, load, steps=total_steps(config), items=len(items["centre"]), batch_size=size, after=after,
        checkpoint=checkpoint, progress=progress,
    )  # fmt: skip


def clusters(centre: Float[Tensor, "picture 3"], count: int) -> list[Tensor]:
    """Mapping pictures in `count` groups of camera positions: the largest is cut at the median of its longest axis, again and again."""
    groups = [torch.arange(len(centre), device=centre.device)]
    while len(groups) < count:
        groups.sort(key=len, reverse=True)
        whole = groups.pop(0)
        axis = (centre[whole].amax(dim=0) - centre[whole].amin(dim=0)).argmax()
        order = whole[centre[whole, axis].argsort()]
        groups += [order[: len(order) // 2], order[len(order) // 2 :]]
    return groups


def train_ensemble(config: Config, seed: int, accelerator: Any, shared: dict[str, Tensor] | None = None) -> list[State]:
    """One head for each cluster of mapping pictures; the backbone is the same (section 4.2)."""
    items = shared if shared else mapping(config, seed, accelerator.device)
    single = dataclasses.replace(config, heads=1)
    return [train(single, seed, accelerator, items, rows=rows) for rows in clusters(items["centre"], config.heads)]
