"""HyperReel (section 3): a network that places samples on a ray, a keyframe volume that answers them, compositing."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vislab.nn.mlp import SkipMLP
from vislab.ops.harmonics import frequencies
from vislab.ops.rays import (
    contract_distance,
    contract_points,
    expand_distance,
    plane_distance,
    pluecker,
    sphere_distance,
    two_plane,
)
from vislab.ops.volume import composite, compositing_weights, intervals, resample
from vislab.papers.fields.hyperreel.card import Config
from vislab.papers.fields.hyperreel.volume import Volume

COARSE = 32


def eased(value: Tensor, start: float, step: int, wait: int, window: int) -> Tensor:
    """`start` until step `wait`, then a linear way to `value` over `window` steps."""
    share = 1.0 if step - wait >= window else max(0.0, (step - wait) / window)
    return share * value + (1 - share) * start


class SampleNetwork(nn.Module):
    """One pass a ray predicts all samples: primitives, offsets, gates, flow, colour scale and shift (section 3.1)."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.parts = {"primitive": 1 if config.primitive == "plane" else 4}
        if config.flow:
            self.parts["flow"] = 3
        self.parts |= {"distance_gate": 1, "offset_gate": 1, "offset": 3, "colour_scale": 3, "colour_shift": 3}
        inputs = 4 if config.rays == "two_plane" else 6
        inputs = inputs * (1 + 2 * config.ray_frequencies) + (5 if config.flow else 0)
        self.mlp = SkipMLP(inputs, config.samples * sum(self.parts.values()), config.width, config.depth, config.skip)

    def encode(self, origin: Tensor, direction: Tensor, time: Tensor) -> Float[Tensor, "ray inputs"]:
        """The ray's coordinates, and the time with two frequencies for video."""
        config = self.config
        ray = two_plane(origin, direction) if config.rays == "two_plane" else pluecker(origin, direction)
        code = frequencies(ray, config.ray_frequencies)
        return torch.cat([code, frequencies(time[:, None], 2)], dim=1) if config.flow else code

    def forward(self, origin: Tensor, direction: Tensor, time: Tensor, step: int) -> dict[str, Tensor]:
        """Outputs by name, each (ray, sample, channels); gates are 1 when closed and eased in over the first steps."""
        config = self.config
        raw = self.mlp(self.encode(origin, direction, time)).view(len(origin), config.samples, -1)
        found = dict(zip(self.parts, raw.split(list(self.parts.values()), dim=-1), strict=True))
        for name, wait in (("distance_gate", 0), ("offset_gate", config.ease_steps // 3)):
            gate = torch.sigmoid(found[name] + config.gate_shift)
            found[name] = eased(gate, 1.0, step, wait, config.ease_steps) if config.gate == "eased" else 0 * gate
        found["offset"] = config.offset_scale * torch.tanh(found["offset"])
        if config.flow:
            found["flow"] = config.flow_scale * found["flow"]
        return found


class HyperReel(nn.Module):
    """The whole renderer; `config.sampler` replaces the sample network by stratified or two-pass sampling."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.step = 10**9
        self.samples = config.samples
        if config.sampler == "predicted":
            self.network = SampleNetwork(config)
        self.volume = Volume(config, config.grid_first)

    # -- where the samples lie ---------------------------------------------------------------------------------------

    def layout(self, device: torch.device) -> Float[Tensor, " sample"]:
        """The primitives' parameters before the network moves them: plane depths, or contracted radii."""
        config = self.config
        first, last = config.near_plane, config.far_plane
        if config.primitive == "sphere":
            first, last = contract_distance(torch.tensor([1.5 * config.near, 1.5 * config.far]), *self.shell).tolist()
        return torch.linspace(first, last, self.samples, device=device)

    @property
    def shell(self) -> tuple[float, float]:
        """Start and end radius of the contraction."""
        return max(1.5 * self.config.near, 1.0), 1.5 * self.config.far

    def predicted(self, origin: Tensor, direction: Tensor, time: Tensor) -> dict[str, Tensor]:
        """Samples of the network: primitives moved, crossed, sorted, then the points carried by flow and offset."""
        config = self.config
        out = self.network(origin, direction, time, self.step)
        layout = self.layout(origin.device)
        spacing = (layout[1] - layout[0]).abs() if len(layout) > 1 else 1.0
        moved = 0.5 * out["primitive"] * (1 - out["distance_gate"]) * spacing
        place = layout + moved[..., -1]
        if config.primitive == "plane":
            distance = plane_distance(origin, direction, place)
            distance = torch.where(distance <= 0, torch.zeros_like(distance), distance)
        else:
            radius = expand_distance(place, *self.shell)
            ray = origin[:, None].expand(*radius.shape, 3), direction[:, None].expand(*radius.shape, 3)
            distance = sphere_distance(*ray, radius)
            distance = torch.where(distance <= config.near, torch.zeros_like(distance), distance)
        distance = distance.sort(dim=-1).values
        points = origin[:, None] + direction[:, None] * distance[..., None]
        if config.primitive == "sphere":
            missed = distance == 0
            points = contract_points(points, *self.shell)
            start = contract_points(origin, *self.shell)
            distance = torch.where(missed, torch.zeros_like(distance), (points - start[:, None]).norm(dim=-1))
        base = self.nearest_keyframe(time)
        if config.flow:
            speed = out["flow"] * (config.flow_scale if config.follow == "code" else 1.0)
            points = points + speed * (time - base)[:, None, None]
        if config.offsets:
            gate = out["offset_gate"] if config.primitive == "plane" else out["distance_gate"]
            points = points + out["offset"] * (1 - gate)
        return {**out, "points": points, "distance": distance, "base_time": base}

    def stratified(self, origin: Tensor, direction: Tensor, time: Tensor, count: int) -> dict[str, Tensor]:
        """Rival: one sample in each of `count` equal slabs of depth, moved at random inside it while training."""
        config = self.config
        edges = torch.linspace(config.near_plane, config.far_plane, count + 1, device=origin.device)
        jitter = torch.rand(len(origin), count, device=origin.device) if self.training else 0.5
        depth = edges[:-1] + (edges[1:] - edges[:-1]) * jitter
        return self.on_ray(origin, direction, time, depth.expand(len(origin), count))

    def on_ray(self, origin: Tensor, direction: Tensor, time: Tensor, depth: Tensor) -> dict[str, Tensor]:
        """Samples where rays cross the planes z = depth."""
        distance = plane_distance(origin, direction, depth)
        points = origin[:, None] + direction[:, None] * distance[..., None]
        return {"points": points, "distance": distance, "base_time": self.nearest_keyframe(time)}

    def two_pass(self, origin: Tensor, direction: Tensor, time: Tensor) -> dict[str, Tensor]:
        """Rival: densities at 32 stratified samples say where to put the `samples` that get a colour."""
        config = self.config
        with torch.no_grad():
            weights = self.weigh(self.stratified(origin, direction, time, COARSE))
        edges = torch.linspace(config.near_plane, config.far_plane, COARSE + 1, device=origin.device)
        jitter = torch.rand(len(origin), self.samples, device=origin.device) if self.training else None
        depth = resample(edges.expand(len(origin), -1), weights, self.samples, jitter)
        return self.on_ray(origin, direction, time, depth)

    def nearest_keyframe(self, time: Float[Tensor, " ray"]) -> Float[Tensor, " ray"]:
        """The time of the keyframe that answers for `time` (section 3.4); frames keep their own in a per-frame volume."""
        config = self.config
        if config.volume != "keyframe":
            return time
        factor = config.keyframes * (config.frames - 1) / config.frames
        if factor == 0:
            return torch.zeros_like(time)
        return torch.round((time * factor).clamp(0, config.keyframes - 1) - 1e-5) / factor

    # -- what the samples see ----------------------------------------------------------------------------------------

    def weigh(self, samples: dict[str, Tensor]) -> Float[Tensor, "ray sample"]:
        """Compositing weights of samples from the volume's density."""
        density, _, _ = self.densities(samples)
        return compositing_weights(density, intervals(samples["distance"]) * self.volume.scale)

    def densities(self, samples: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Densities (ray, sample), box coordinates and time coordinates (point, ...) of the samples."""
        points = samples["points"]
        inside = self.volume.valid(points, samples["distance"])
        place = self.volume.normalise(points).flatten(0, 1)
        clock = self.volume.time_coordinate(samples["base_time"])[:, None].expand(inside.shape).flatten()
        density = self.volume.density_feature(place, clock).relu().view(inside.shape)
        return density * inside, place, clock

    def forward(
        self, origin: Float[Tensor, "ray 3"], direction: Float[Tensor, "ray 3"], time: Float[Tensor, " ray"]
    ) -> dict[str, Tensor]:
        """{"rgb": (ray, 3), "weights", "points", "distance", "base_time"} and the network's outputs.

        Directions need not be unit vectors; colours are clipped to [0, 1] outside training.
        """
        sampler = self.config.sampler
        if sampler == "predicted":
            samples = self.predicted(origin, direction, time)
        elif sampler == "stratified":
            samples = self.stratified(origin, direction, time, self.samples)
        else:
            samples = self.two_pass(origin, direction, time)
        density, place, clock = self.densities(samples)
        weights = compositing_weights(density, intervals(samples["distance"]) * self.volume.scale)
        # the released code feeds the harmonics with directions as they come
        heading = direction if self.config.follow == "code" else torch.nn.functional.normalize(direction, dim=-1)
        heading = heading[:, None].expand_as(samples["points"]).flatten(0, 1)
        colour = self.volume.shade(self.volume.colour_feature(place, clock), heading).view(*weights.shape, 3)
        colour = colour * (weights > 0)[..., None]
        if self.config.colour_transform and sampler == "predicted":
            share = 1.0 if self.step >= self.config.ease_steps else self.step / max(1, self.config.ease_steps)
            colour = colour * (1 + share * samples["colour_scale"]) + share * samples["colour_shift"]
        rgb = composite(weights, colour)
        return {**samples, "weights": weights, "rgb": rgb if self.training else rgb.clamp(0, 1)}


def build(config: Config) -> HyperReel:
    """The renderer of `config`, its volume at the first grid."""
    return HyperReel(config)


def counted(model: HyperReel) -> int:
    """What the reported count counts: the sample network alone; the volume's size depends on the scene."""
    return sum(p.numel() for p in model.network.parameters())
