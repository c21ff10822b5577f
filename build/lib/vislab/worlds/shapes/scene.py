"""A scene as numbers: what stands where, with every attribute that a task may ask about."""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

TEXTURES = ("plain", "stripes", "checks", "dots", "rings", "waves")


@dataclass(frozen=True)
class Scene:
    """A batch of scenes with up to `object` things each, later ones in front.

    An outline is a star of `points` tips whose notches reach `notch` of the radius (cos(pi / points) gives a polygon, 1 a disc),
    with a hole of `hole` of its size.
    """

    present: Bool[Tensor, "batch object"]
    """Which slots hold an object."""
    points: Float[Tensor, "batch object"]
    """Number of tips, at least 3."""
    notch: Float[Tensor, "batch object"]
    """Radius at the notches over the radius at the tips, in (0, 1]."""
    hole: Float[Tensor, "batch object"]
    """Size of the hole over the size of the outline, in [0, 1)."""
    texture: Int[Tensor, "batch object"]
    """Index into `TEXTURES`."""
    frequency: Float[Tensor, "batch object"]
    """Texture periods across the radius."""
    colour: Float[Tensor, "batch object 3"]
    """Main colour, sRGB in [0, 1]."""
    second: Float[Tensor, "batch object 3"]
    """The texture's other colour."""
    centre: Float[Tensor, "batch object 2"]
    """(x, y) as a share of the image side."""
    radius: Float[Tensor, "batch object"]
    """Radius at the tips as a share of the image side."""
    angle: Float[Tensor, "batch object"]
    """Rotation in radians, from x towards y."""
    background: Float[Tensor, "batch 2 3"]
    """Colours at the top and at the bottom of the background's gradient."""
