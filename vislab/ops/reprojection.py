"""How far predicted scene points fall from their pixels, and the clamped loss of scene coordinate regression (ACE, section 3.3)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

NEAREST, FARTHEST, HARD_LIMIT, PROXY_DEPTH = 0.1, 1000.0, 1000.0, 10.0


def cells(height: int, width: int, stride: int, device: torch.device | str = "cpu") -> Float[Tensor, "cell 2"]:
    """Middles (x, y) of all cells of a picture, row by row, in pixels from its middle.

    A cell covers `stride` pixels a side, so that cell i has its middle at `stride` (i + 1/2) pixels from the edge.
    """
    y, x = torch.meshgrid(
        (torch.arange(height // stride, device=device) + 0.5) * stride - height / 2,
        (torch.arange(width // stride, device=device) + 0.5) * stride - width / 2,
        indexing="ij",
    )
    return torch.stack([x, y], dim=-1).flatten(0, 1)


def camera_points(
    point: Float[Tensor, "item 3"], rotation: Float[Tensor, "item 3 3"], centre: Float[Tensor, "item 3"]
) -> Float[Tensor, "item 3"]:
    """World points in the coordinates of each item's camera (rotations are camera-from-world)."""
    return torch.einsum("nij,nj->ni", rotation, point - centre)


def errors(
    point: Float[Tensor, "item 3"],
    pixel: Float[Tensor, "item 2"],
    rotation: Float[Tensor, "item 3 3"],
    centre: Float[Tensor, "item 3"],
    focal: Float[Tensor, " item"],
) -> tuple[Float[Tensor, " item"], Float[Tensor, "item 3"], Bool[Tensor, " item"]]:
    """L1 distance in pixels, camera-space points, and which predictions are valid.

    `pixel` is measured from the principal point.
    A prediction is valid when its depth lies in [0.1, 1000] m and its error is at most 1000 pixels.
    """
    local = camera_points(point, rotation, centre)
    depth = local[:, 2]
    projected = focal[:, None] * local[:, :2] / depth.clamp(min=NEAREST)[:, None]
    error = (projected - pixel).abs().sum(dim=1)
    valid = (depth > NEAREST) & (depth < FARTHEST) & (error <= HARD_LIMIT)
    return error, local, valid


def threshold(progress: float, schedule: str = "circle", largest: float = 50.0, smallest: float = 1.0) -> float:
    """The clamp tau(t) in pixels: w(t) = 1 - sqrt(1 - t^2) on the circle, t on the line, 0 when constant.

    Raises ValueError for an unknown schedule.
    """
    if schedule not in ("circle", "linear", "constant"):
        raise ValueError(f"unknown schedule {schedule!r}; known are circle, linear and constant")
    t = min(max(progress, 0.0), 1.0)
    weight = {"circle": 1 - (1 - t * t) ** 0.5, "linear": t, "constant": 0.0}[schedule]
    return (1 - weight) * largest + smallest


def clamped(error: Tensor, tau: float, shape: str = "tanh") -> Tensor:
    """tau tanh(e / tau); or the plain error cut off at tau, without a gradient beyond it ("l1")."""
    return tau * torch.tanh(error / tau) if shape == "tanh" else error.clamp(max=tau)


def coordinate_loss(
    point: Float[Tensor, "item 3"],
    pixel: Float[Tensor, "item 2"],
    rotation: Float[Tensor, "item 3 3"],
    centre: Float[Tensor, "item 3"],
    focal: Float[Tensor, " item"],
    tau: float,
    shape: str = "tanh",
    proxy_depth: float = PROXY_DEPTH,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The loss over a batch, and the share of valid predictions.

    Valid predictions pay their clamped reprojection error.
    Others pay the L1 distance to a point at `proxy_depth` metres on their pixel's ray, which draws them in front of the camera.
    """
    error, local, valid = errors(point, pixel, rotation, centre, focal)
    ray = torch.cat([pixel / focal[:, None], torch.ones_like(pixel[:, :1])], dim=1)
    aside = (local - proxy_depth * ray).abs().sum(dim=1)
    each = torch.where(valid, clamped(error, tau, shape), aside)
    return each.sum() / len(each), valid.float().mean()
