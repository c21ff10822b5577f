"""The volumes that samples ask (section 3.3): TensoRF factors over keyframes, static ones, and one a frame."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vislab.ops.grids import resize_plane, sample_plane, sample_stack, total_variation
from vislab.ops.harmonics import harmonics
from vislab.papers.fields.hyperreel.card import Config

# Each orientation pairs a plane over two axes with the axis that is left.
PLANES = ((0, 1), (0, 2), (1, 2))
AXES = (2, 1, 0)
OCCUPANCY = 24


class Volume(nn.Module):
    """Density and colour as sums of products of a factor over two axes and one over the third axis and time.

    keyframe   the second factor is a plane (keyframe, axis): space is shared, each keyframe has its own profile
    static     the second factor is a vector over the axis
    per_frame  both factors exist once a frame: nothing is shared over time
    """

    occupancy: Tensor

    def __init__(self, config: Config, grid: tuple[int, int, int]):
        super().__init__()
        self.kind, self.shading = config.volume, config.shading
        self.frames, self.keyframes = config.frames, config.keyframes
        self.scale, self.mask = config.distance_scale, config.follow == "paper"
        low, high = torch.tensor(config.box_low), torch.tensor(config.box_high)
        self.register_buffer("box", torch.stack([low, high]), persistent=False)
        self.register_buffer("occupancy", torch.ones(1, 1, OCCUPANCY, OCCUPANCY, OCCUPANCY))
        colours = 27 if config.shading == "sh" else 3
        self.density_space = nn.ParameterList(
            self._space(c, k, grid, 0.01, False) for k, c in enumerate(config.components)
        )
        self.density_time = nn.ParameterList(
            self._time(c, k, grid, 0.01, False) for k, c in enumerate(config.components)
        )
        self.colour_space = nn.ParameterList(
            self._space(c, k, grid, 0.1, True) for k, c in enumerate(config.components)
        )
        self.colour_time = nn.ParameterList(self._time(c, k, grid, 0.1, True) for k, c in enumerate(config.components))
        self.basis = nn.Linear(sum(config.components), colours, bias=False)

    def _space(self, channels: int, k: int, grid: tuple[int, int, int], scale: float, signed: bool) -> nn.Parameter:
        first, second = PLANES[k]
        depth = (self.frames,) if self.kind == "per_frame" else ()
        return nn.Parameter(_noise((1, channels, *depth, grid[second], grid[first]), scale, signed))

    def _time(self, channels: int, k: int, grid: tuple[int, int, int], scale: float, signed: bool) -> nn.Parameter:
        length = grid[AXES[k]]
        if self.kind == "static":
            return nn.Parameter(_noise((1, channels, length, 1), scale, signed))
        rows = self.frames if self.kind == "per_frame" else self.keyframes
        return nn.Parameter(_noise((1, channels, rows, length), scale, signed))

    @property
    def grid(self) -> tuple[int, int, int]:
        """Cells along x, y and z."""
        y, x = self.density_space[0].shape[-2:]
        z = self.density_space[1].shape[-2]
        return x, y, z

    def normalise(self, points: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
        """Box coordinates in [-1, 1]."""
        return (points - self.box[0]) / (self.box[1] - self.box[0]) * 2 - 1

    def time_coordinate(self, time: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Where a keyframe's (or a frame's) time lies on the time axis of the factors, in [-1, 1]."""
        if self.kind == "per_frame":
            return time * 2 - 1 if self.frames > 1 else torch.zeros_like(time)
        return (time * (self.frames - 1) / self.frames + 0.5 / self.keyframes) * 2 - 1

    def _factor(self, space: Tensor, along: Tensor, k: int, point: Tensor, time: Tensor) -> Tensor:
        plane = point[:, list(PLANES[k])]
        axis = point[:, AXES[k]]
        if self.kind == "per_frame":
            first = sample_stack(space, torch.cat([plane, time[:, None]], dim=1))
        else:
            first = sample_plane(space, plane)
        if self.kind == "static":
            second = sample_plane(along, torch.stack([torch.zeros_like(axis), axis], dim=1))
        else:
            second = sample_plane(along, torch.stack([axis, time], dim=1))
        return first * second

    def _features(self, spaces: nn.ParameterList, times: nn.ParameterList, point: Tensor, time: Tensor) -> Tensor:
        used = [k for k, s in enumerate(spaces) if s.shape[1]]
        return torch.cat([self._factor(spaces[k], times[k], k, point, time) for k in used])

    def density_feature(
        self, point: Float[Tensor, "point 3"], time: Float[Tensor, " point"]
    ) -> Float[Tensor, " point"]:
        """Sum of the density products at box coordinates; before the activation."""
        return self._features(self.density_space, self.density_time, point, time).sum(dim=0)

    def colour_feature(
        self, point: Float[Tensor, "point 3"], time: Float[Tensor, " point"]
    ) -> Float[Tensor, "point d"]:
        """The colour products mapped by the basis: 27 SH coefficients or 3 logits."""
        return self.basis(self._features(self.colour_space, self.colour_time, point, time).T)

    def shade(self, feature: Float[Tensor, "point d"], direction: Float[Tensor, "point 3"]) -> Float[Tensor, "point 3"]:
        """Colour of a feature seen along a unit direction."""
        if self.shading == "rgb":
            return torch.sigmoid(feature)
        return torch.relu((harmonics(direction)[:, None] * feature.view(-1, 3, 9)).sum(-1) + 0.5)

    def valid(
        self, points: Float[Tensor, "ray sample 3"], distance: Float[Tensor, "ray sample"]
    ) -> Bool[Tensor, "ray sample"]:
        """Samples inside the box, in front of the origin, and where the occupancy grid is not empty."""
        inside = ((points >= self.box[0]) & (points <= self.box[1])).all(dim=-1) & (distance > 0)
        if self.mask and not bool(self.occupancy.all()):
            place = self.normalise(points).flatten(0, 1)
            inside = inside & (sample_stack(self.occupancy, place)[0].view(inside.shape) > 0)
        return inside

    @torch.no_grad()
    def update_occupancy(self, threshold: float) -> None:
        """Mark the cells where, at any time stored, a step of the ray would be more opaque than `threshold` (alpha mask)."""
        line = torch.linspace(-1, 1, OCCUPANCY, device=self.box.device)
        z, y, x = torch.meshgrid(line, line, line, indexing="ij")
        point = torch.stack([x, y, z], dim=-1).view(-1, 3)
        rows = self.frames if self.kind == "per_frame" else self.keyframes if self.kind == "keyframe" else 1
        most = torch.zeros(len(point), device=point.device)
        for row in range(rows):
            time = torch.full((len(point),), 2 * row / max(1, rows - 1) - 1, device=point.device)
            most = torch.maximum(most, self.density_feature(point, time).relu())
        step = float((self.box[1] - self.box[0])[2]) / OCCUPANCY
        full = (1 - torch.exp(-most * step * self.scale) > threshold).float().view(1, 1, *[OCCUPANCY] * 3)
        self.occupancy.copy_(torch.nn.functional.max_pool3d(full, 3, stride=1, padding=1))

    @torch.no_grad()
    def grow(self, grid: tuple[int, int, int]) -> None:
        """Resample all factors to `grid` cells; the parameters stay the same objects, so optimisers keep them."""
        for spaces, times in ((self.density_space, self.density_time), (self.colour_space, self.colour_time)):
            for k, (space, time) in enumerate(zip(spaces, times, strict=True)):
                size = grid[PLANES[k][1]], grid[PLANES[k][0]]
                if self.kind == "per_frame":
                    flat = space.data[0].transpose(0, 1)
                    grown = torch.nn.functional.interpolate(flat, size=size, mode="bilinear", align_corners=True)
                    space.data = (
                        grown.transpose(0, 1)[None] if space.shape[1] else space.new_zeros((1, 0, self.frames, *size))
                    )
                else:
                    space.data = resize_plane(space.data, size)
                length = grid[AXES[k]]
                time.data = resize_plane(time.data, (length, 1) if self.kind == "static" else (time.shape[2], length))
                space.grad = time.grad = None

    def sparsity(self) -> Float[Tensor, ""]:
        """Mean absolute value of the density factors."""
        factors = [*self.density_space, *self.density_time]
        return sum(f.abs().mean() for f in factors if f.shape[1])

    def variation(self) -> Float[Tensor, ""]:
        """Total variation of the space factors, both kinds, times 0.01."""
        planes = [p for p in (*self.density_space, *self.colour_space) if p.shape[1]]
        if self.kind == "per_frame":
            planes = [p[0].transpose(0, 1).flatten(0, 1)[None] for p in planes]
        return 0.01 * sum(total_variation(p) for p in planes)


def _noise(shape: tuple[int, ...], scale: float, signed: bool) -> Tensor:
    return scale * (torch.randn(shape) if signed else torch.rand(shape).clamp(min=0.01))
