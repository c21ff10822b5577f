"""Camera pose from points seen at known pixels: the three-point problem, robust hypotheses, refinement; many pictures at once."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vislab.ops import counter
from vislab.ops.rotations import exp_so3


def kabsch(
    source: Float[Tensor, "*batch point 3"], target: Float[Tensor, "*batch point 3"]
) -> tuple[Float[Tensor, "*batch 3 3"], Float[Tensor, "*batch 3"]]:
    """The rotation R and translation t with the least sum of |R source + t - target|^2."""
    a, b = source.mean(dim=-2, keepdim=True), target.mean(dim=-2, keepdim=True)
    u, _, vh = torch.linalg.svd((target - b).transpose(-1, -2) @ (source - a))
    sign = torch.det(u @ vh).sign()
    flip = torch.stack([torch.ones_like(sign), torch.ones_like(sign), sign], dim=-1)
    rotation = u @ (flip[..., None] * vh)
    return rotation, (b - a @ rotation.transpose(-1, -2)).squeeze(-2)


def roots(coefficients: Float[Tensor, "*batch five"]) -> Float[Tensor, "*batch 4"]:
    """Real roots of quartics, highest power first; NaN where a root is not real."""
    lead = coefficients[..., :1]
    lead = torch.where(lead.abs() < 1e-12, torch.full_like(lead, 1e-12), lead)
    monic = coefficients[..., 1:] / lead
    companion = torch.zeros(*monic.shape[:-1], 4, 4, dtype=monic.dtype, device=monic.device)
    companion[..., 0, :] = -monic
    companion[..., 1, 0] = companion[..., 2, 1] = companion[..., 3, 2] = 1
    companion = torch.where(torch.isfinite(companion), companion, torch.zeros_like(companion))
    found = torch.linalg.eigvals(companion)
    real = found.imag.abs() < 1e-4 * (1 + found.real.abs())
    return torch.where(real, found.real, torch.full_like(found.real, torch.nan))


def three_points(
    world: Float[Tensor, "*batch 3 3"], ray: Float[Tensor, "*batch 3 3"]
) -> tuple[Float[Tensor, "*batch 4 3 3"], Float[Tensor, "*batch 4 3"], Bool[Tensor, "*batch 4"]]:
    """Poses from three world points and unit rays towards them (Grunert's solution, as given by Haralick et al. 1994).

    Gives up to four camera-from-world rotations and translations, and which of them are solutions.
    """
    world, ray = world.double(), ray.double()

    def between(i: int, j: int) -> tuple[Tensor, Tensor]:
        return (world[..., i, :] - world[..., j, :]).square().sum(-1), (ray[..., i, :] * ray[..., j, :]).sum(-1)

    (a, cos_a), (b, cos_b), (c, cos_c) = between(1, 2), between(0, 2), between(0, 1)
    b = b.clamp(min=1e-12)
    p, q, r = (a - c) / b, (a + c) / b, c / b
    quartic = torch.stack([
        (p - 1) ** 2 - 4 * r * cos_a**2,
        4 * (p * (1 - p) * cos_b - (1 - q) * cos_a * cos_c + 2 * r * cos_a**2 * cos_b),
        2 * (p**2 - 1 + 2 * p**2 * cos_b**2 + 2 * (b - c) / b * cos_a**2 - 4 * q * cos_a * cos_b * cos_c + 2 * (b - a) / b * cos_c**2),
        4 * (-p * (1 + p) * cos_b + 2 * a / b * cos_c**2 * cos_b - (1 - q) * cos_a * cos_c),
        (1 + p) ** 2 - 4 * a / b * cos_c**2,
    ], dim=-1)  # fmt: skip
    v = roots(quartic)
    p, cos_a, cos_b, cos_c, b = (x[..., None] for x in (p, cos_a, cos_b, cos_c, b))
    u = ((p - 1) * v**2 - 2 * p * cos_b * v + 1 + p) / (2 * (cos_c - v * cos_a))
    first = (b / (1 + v**2 - 2 * v * cos_b)).sqrt()
    distance = torch.stack([first, u * first, v * first], dim=-1)
    good = torch.isfinite(distance).all(dim=-1) & (distance > 0).all(dim=-1)
    distance = torch.where(good[..., None], distance, torch.ones_like(distance))
    local = distance[..., None] * ray[..., None, :, :]
    rotation, translation = kabsch(world[..., None, :, :].expand_as(local), local)
    return rotation.float(), translation.float(), good


def pixel_errors(
    rotation: Float[Tensor, "*batch 3 3"],
    translation: Float[Tensor, "*batch 3"],
    world: Float[Tensor, "*batch point 3"],
    pixel: Float[Tensor, "*batch point 2"],
    focal: float,
) -> Float[Tensor, "*batch point"]:
    """Euclidean reprojection errors in pixels; 1000 for points behind the camera. `pixel` is measured from the principal point."""
    local = world @ rotation.transpose(-1, -2) + translation[..., None, :]
    depth = local[..., 2]
    error = (focal * local[..., :2] / depth.clamp(min=0.01)[..., None] - pixel).norm(dim=-1)
    return torch.where(depth > 0.01, error, torch.full_like(error, 1000.0)).clamp(max=1000.0)


def soft_inliers(error: Float[Tensor, "*batch point"], limit: float) -> Float[Tensor, "*batch"]:
    """Sum of sigmoid(5 (1 - e / limit)): the score of DSAC*."""
    return torch.sigmoid(5 * (1 - error / limit)).sum(dim=-1)


def refine(
    rotation: Float[Tensor, "batch 3 3"],
    translation: Float[Tensor, "batch 3"],
    world: Float[Tensor, "batch point 3"],
    pixel: Float[Tensor, "batch point 2"],
    focal: float,
    limit: float,
    rounds: int = 12,
) -> tuple[Float[Tensor, "batch 3 3"], Float[Tensor, "batch 3"]]:
    """Gauss-Newton on the squared pixel errors of the points within `limit`, chosen anew in every round."""
    for _ in range(rounds):
        weight = (pixel_errors(rotation, translation, world, pixel, focal) < limit).double()
        turned = (world @ rotation.transpose(-1, -2)).double()
        local = turned + translation[:, None].double()
        x, y, z = local.unbind(-1)
        z = z.clamp(min=0.01)
        residual = torch.stack([focal * x / z, focal * y / z], dim=-1) - pixel.double()
        zero = torch.zeros_like(x)
        along = torch.stack([
            torch.stack([focal / z, zero, -focal * x / z**2], dim=-1),
            torch.stack([zero, focal / z, -focal * y / z**2], dim=-1),
        ], dim=-2)  # fmt: skip
        a, b, c = turned.unbind(-1)
        spin = torch.stack([
            torch.stack([zero, c, -b], dim=-1), torch.stack([-c, zero, a], dim=-1), torch.stack([b, -a, zero], dim=-1),
        ], dim=-2)  # fmt: skip
        jacobian = torch.cat([along @ spin, along], dim=-1)
        normal = torch.einsum("npki,npkj,np->nij", jacobian, jacobian, weight)
        gradient = torch.einsum("npki,npk,np->ni", jacobian, residual, weight)
        damping = 1e-6 * normal.diagonal(dim1=-2, dim2=-1).mean(-1).clamp(min=1e-9)
        step = -torch.linalg.solve(
            normal + damping[:, None, None] * torch.eye(6, dtype=normal.dtype, device=normal.device), gradient
        )
        few = weight.sum(dim=1) < 4
        step = torch.where(few[:, None], torch.zeros_like(step), step).clamp(-0.5, 0.5).float()
        rotation = exp_so3(step[:, :3]) @ rotation
        translation = translation + step[:, 3:]
    return rotation, translation


def robust_pose(
    world: Float[Tensor, "batch point 3"],
    pixel: Float[Tensor, "batch point 2"],
    focal: float,
    limit: float,
    seed: int,
    index: Int[Tensor, " batch"],
    hypotheses: int = 64,
) -> tuple[Float[Tensor, "batch 3 3"], Float[Tensor, "batch 3"], Float[Tensor, " batch"]]:
    """Camera-from-world rotation, camera centre in the world, and the number of soft inliers of each picture.

    `hypotheses` draws of four points a picture: three give up to four poses, the fourth chooses one.
    The hypothesis with the most soft inliers over all points is refined on its inliers.
    `index` names the draws of each picture.
    """
    batch, points = world.shape[:2]
    drawn = counter.integers(seed, "evaluate", index.to(world.device), "hypotheses", points, (hypotheses, 4))
    rows = torch.arange(batch, device=world.device)[:, None, None]
    sample, seen = world[rows, drawn], pixel[rows, drawn]
    ray = torch.nn.functional.normalize(torch.cat([seen / focal, torch.ones_like(seen[..., :1])], dim=-1), dim=-1)
    rotation, translation, good = three_points(sample[..., :3, :], ray[..., :3, :])
    fourth = pixel_errors(
        rotation, translation, sample[..., None, 3:, :].expand(*rotation.shape[:3], 1, 3),
        seen[..., None, 3:, :].expand(*rotation.shape[:3], 1, 2), focal,
    )[..., 0]  # fmt: skip
    fourth = torch.where(good, fourth, torch.full_like(fourth, torch.inf))
    chosen = fourth.argmin(dim=-1)
    pick = (rows[..., 0], torch.arange(hypotheses, device=world.device), chosen)
    rotation, translation = rotation[pick], translation[pick]
    error = pixel_errors(rotation, translation, world[:, None], pixel[:, None], focal)
    score = torch.where(good.any(dim=-1), soft_inliers(error, limit), torch.zeros_like(error[..., 0]))
    best = (rows[:, 0, 0], score.argmax(dim=1))
    rotation, translation = refine(rotation[best], translation[best], world, pixel, focal, limit)
    inliers = soft_inliers(pixel_errors(rotation, translation, world, pixel, focal), limit)
    return rotation, -torch.einsum("nji,nj->ni", rotation, translation), inliers
