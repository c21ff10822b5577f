"""Colour spaces and differences, vectorised over any leading dimensions; channels lie at dimension -3."""

import torch
from jaxtyping import Float
from torch import Tensor

# linear sRGB to CIE XYZ under D65 (IEC 61966-2-1), and the D65 white point
_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.95047, 1.0, 1.08883)

Image = Float[Tensor, "*batch channel height width"]


def srgb_from_linear(linear: Image) -> Image:
    """The sRGB transfer curve; values below 0 are clipped to 0."""
    x = linear.clamp(min=0)
    return torch.where(x <= 0.0031308, 12.92 * x, 1.055 * x.clamp(min=1e-8).pow(1 / 2.4) - 0.055)


def linear_from_srgb(srgb: Image) -> Image:
    """Inverse of `srgb_from_linear` on [0, 1]."""
    return torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb.clamp(min=0) + 0.055) / 1.055).pow(2.4))


def mix_channels(image: Image, matrix: Float[Tensor, "*batch 3 3"]) -> Image:
    """Apply a 3x3 matrix to the channels of every pixel; the matrix may differ by item."""
    return torch.einsum("...ij,...jhw->...ihw", matrix, image)


def lab_from_srgb(srgb: Image) -> Image:
    """CIELAB under D65 of sRGB in [0, 1]."""
    xyz = mix_channels(linear_from_srgb(srgb), torch.tensor(_XYZ, dtype=srgb.dtype, device=srgb.device))
    t = xyz / torch.tensor(_WHITE, dtype=srgb.dtype, device=srgb.device)[:, None, None]
    f = torch.where(t > 0.008856, t.clamp(min=1e-8).pow(1 / 3), 7.787 * t + 16 / 116)
    x, y, z = f.unbind(dim=-3)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=-3)


def delta_e_2000(first: Image, second: Image) -> Float[Tensor, "*batch height width"]:
    """CIEDE2000 between two CIELAB images (Sharma, Wu and Dalal 2005, equations 2 to 22)."""
    l1, a1, b1 = first.unbind(dim=-3)
    l2, a2, b2 = second.unbind(dim=-3)
    c_mean7 = ((torch.hypot(a1, b1) + torch.hypot(a2, b2)) / 2) ** 7
    stretch = 1 + 0.5 * (1 - torch.sqrt(c_mean7 / (c_mean7 + 25.0**7)))
    a1, a2 = a1 * stretch, a2 * stretch
    c1, c2 = torch.hypot(a1, b1), torch.hypot(a2, b2)
    turn = 2 * torch.pi
    h1, h2 = torch.atan2(b1, a1) % turn, torch.atan2(b2, a2) % turn
    grey = (c1 * c2) == 0
    dh = (h2 - h1 + torch.pi) % turn - torch.pi
    dh = torch.where(grey, torch.zeros_like(dh), dh)
    dl, dc = l2 - l1, c2 - c1
    dh_chord = 2 * torch.sqrt((c1 * c2).clamp(min=0)) * torch.sin(dh / 2)
    l_mean, c_mean = (l1 + l2) / 2, (c1 + c2) / 2
    h_sum = h1 + h2
    far = (h1 - h2).abs() > torch.pi
    h_mean = torch.where(far, torch.where(h_sum < turn, h_sum + turn, h_sum - turn), h_sum) / 2
    h_mean = torch.where(grey, h_sum, h_mean)

    def degrees(value: float) -> float:
        return value * torch.pi / 180

    t = (
        1
        - 0.17 * torch.cos(h_mean - degrees(30))
        + 0.24 * torch.cos(2 * h_mean)
        + 0.32 * torch.cos(3 * h_mean + degrees(6))
        - 0.20 * torch.cos(4 * h_mean - degrees(63))
    )
    rotation = degrees(30) * torch.exp(-(((h_mean * 180 / torch.pi - 275) / 25) ** 2))
    c7 = c_mean**7
    r_c = 2 * torch.sqrt(c7 / (c7 + 25.0**7))
    s_l = 1 + 0.015 * (l_mean - 50) ** 2 / torch.sqrt(20 + (l_mean - 50) ** 2)
    s_c, s_h = 1 + 0.045 * c_mean, 1 + 0.015 * c_mean * t
    twist = -torch.sin(2 * rotation) * r_c * (dc / s_c) * (dh_chord / s_h)
    return torch.sqrt(((dl / s_l) ** 2 + (dc / s_c) ** 2 + (dh_chord / s_h) ** 2 + twist).clamp(min=0))
