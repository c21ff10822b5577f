"""Drawing a `Scene`: anti-aliased masks from signed distances, textures in each object's own frame, exact masks and boxes."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vislab.worlds.shapes.scene import Scene


@dataclass(frozen=True)
class Picture:
    """A rendered batch with the truth about every object."""

    image: Float[Tensor, "batch 3 height width"]
    """sRGB in [0, 1]."""
    amodal: Bool[Tensor, "batch object height width"]
    """The pixels whose centre lies inside the object, hidden or not."""
    visible: Bool[Tensor, "batch object height width"]
    """Those of them that no object in front covers."""
    boxes: Float[Tensor, "batch object 4"]
    """(x0, y0, x1, y1) in pixels around the visible mask, edges included; zeros where nothing is visible."""


def outline(
    x: Float[Tensor, "..."], y: Float[Tensor, "..."], points: Tensor, notch: Tensor, hole: Tensor
) -> Float[Tensor, "..."]:
    """Signed distance to a star outline of unit radius, negative inside; a lower bound outside the tips.

    The angle is folded into half a sector, where the outline is the segment from the tip to the notch.
    """
    radius, angle = torch.hypot(x, y), torch.atan2(y, x)
    sector = torch.pi / points
    folded = ((angle + sector) % (2 * sector) - sector).abs()
    tip = torch.stack([torch.ones_like(sector), torch.zeros_like(sector)])
    dip = notch * torch.stack([sector.cos(), sector.sin()])
    along = dip - tip
    normal = torch.stack([along[1], -along[0]]) / along.norm(dim=0)
    star = (radius * folded.cos() - tip[0]) * normal[0] + (radius * folded.sin()) * normal[1]
    distance = torch.where(notch >= 1, radius - 1, star)
    inner = torch.where(hole > 0, hole - radius, torch.full_like(radius, -1.0))
    return torch.maximum(distance, inner)


def pattern(u: Tensor, v: Tensor, texture: Tensor, frequency: Tensor) -> Float[Tensor, "..."]:
    """How much of the second colour each point of an object's own frame shows, in [0, 1]."""
    turn = 2 * torch.pi * frequency
    stripes = 0.5 + 0.5 * torch.tanh(4 * torch.sin(turn * u))
    checks = 0.5 + 0.5 * torch.tanh(4 * torch.sin(turn * u) * torch.sin(turn * v))
    dots = 0.5 + 0.5 * torch.tanh(4 * (torch.sin(turn * u) * torch.sin(turn * v) - 0.4))
    rings = 0.5 + 0.5 * torch.tanh(4 * torch.sin(turn * torch.hypot(u, v)))
    waves = 0.5 + 0.5 * torch.tanh(4 * torch.sin(turn * (u + 0.3 * torch.sin(4 * v))))
    options = torch.stack([torch.zeros_like(u), stripes, checks, dots, rings, waves])
    chosen = texture.expand_as(u)
    return torch.gather(options, 0, chosen[None])[0]


def render(scene: Scene, size: int) -> Picture:
    """Draw scenes at `size` pixels a side; objects are painted in their order, edges one pixel soft."""
    device = scene.centre.device
    pixel = (torch.arange(size, device=device) + 0.5) / size
    share = pixel[None, :, None, None]
    top, bottom = scene.background[:, None, None, 0], scene.background[:, None, None, 1]
    image = torch.lerp(top, bottom, share).expand(-1, -1, size, -1).permute(0, 3, 1, 2)

    def broadcast(value: Tensor) -> Tensor:
        return value[:, :, None, None]

    dx = pixel[None, None, None, :] - broadcast(scene.centre[..., 0])
    dy = pixel[None, None, :, None] - broadcast(scene.centre[..., 1])
    cos, sin = broadcast(scene.angle.cos()), broadcast(scene.angle.sin())
    scale = broadcast(scene.radius)
    u, v = (cos * dx + sin * dy) / scale, (cos * dy - sin * dx) / scale
    distance = outline(u, v, broadcast(scene.points), broadcast(scene.notch), broadcast(scene.hole))
    distance = torch.where(broadcast(scene.present), distance, torch.ones_like(distance))
    amodal = distance < 0
    cover = (0.5 - distance * scale * size).clamp(0, 1) * broadcast(scene.present)
    mix = pattern(u, v, broadcast(scene.texture), broadcast(scene.frequency))
    for k in range(scene.present.shape[1]):
        first, second = scene.colour[:, k, :, None, None], scene.second[:, k, :, None, None]
        paint = torch.lerp(first.expand_as(image), second.expand_as(image), mix[:, k, None].expand_as(image))
        image = torch.lerp(image, paint, cover[:, k, None].expand_as(image))
    in_front = amodal.flip(1).int().cumsum(dim=1).flip(1) - amodal.int()
    visible = amodal & (in_front == 0)
    return Picture(image, amodal, visible, boxes(visible))


def boxes(masks: Bool[Tensor, "batch object height width"]) -> Float[Tensor, "batch object 4"]:
    """Tight boxes (x0, y0, x1, y1) around masks, with x1 and y1 one past the last pixel; zeros for an empty mask."""
    height, width = masks.shape[-2:]
    rows, columns = masks.any(dim=-1), masks.any(dim=-2)
    y0 = rows.int().argmax(dim=-1)
    x0 = columns.int().argmax(dim=-1)
    y1 = height - rows.flip(-1).int().argmax(dim=-1)
    x1 = width - columns.flip(-1).int().argmax(dim=-1)
    found = torch.stack([x0, y0, x1, y1], dim=-1).float()
    return found * rows.any(dim=-1)[..., None]
