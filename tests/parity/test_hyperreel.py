"""The authors' Technicolor model, DoNeRF model and keyframe volume, rule v1 weights, same outputs at every stage."""

import dataclasses

import torch

from tests.parity.helper import Spec
from vislab.ops.volume import composite, compositing_weights, intervals
from vislab.papers.fields.hyperreel.card import PROFILES
from vislab.papers.fields.hyperreel.model import build
from vislab.papers.fields.hyperreel.official import from_official

PLANES = dataclasses.replace(PROFILES["paper"], follow="code", grid_first=(5, 4, 3))
SPHERES = dataclasses.replace(
    PLANES, rays="pluecker", ray_frequencies=1, primitive="sphere", offset_scale=0.125, flow=False, volume="static",
    frames=1, keyframes=1, components=(8, 4, 4), shading="rgb", box_low=(-2.0, -2.0, -2.0), box_high=(2.0, 2.0, 2.0),
)  # fmt: skip


def load(spec, config):
    model = build(config).eval()
    state = from_official(spec.state())
    model.load_state_dict(state | {"volume.occupancy": model.volume.occupancy})
    return model


def outputs(model, found):
    density, place, clock = model.densities(found)
    shape = density.shape
    return {
        "net_sigma": found["distance_gate"],
        "net_point_sigma": found["offset_gate"],
        "net_z_vals": found["primitive"],
        "net_point_offset": found["offset"],
        "net_color_scale": found["colour_scale"],
        "net_color_shift": found["colour_shift"],
        "points": found["points"].flatten(1),
        "distances": found["distance"],
        "rgb": found["rgb"],
        "render_weights": found["weights"],
        "density_feature": model.volume.density_feature(place, clock).view(shape),
        "appearance_feature": model.volume.colour_feature(place, clock).view(*shape, -1),
    }


@torch.no_grad()
def test_forward_facing_video_model():
    spec = Spec("hyperreel")
    model = load(spec, PLANES)
    for case in range(2):
        r = spec.inputs(case)["r"]
        origin = torch.stack([2 * r[:, 0] - 1, 2 * r[:, 1] - 1, -torch.ones(len(r))], dim=1)
        direction = torch.stack([r[:, 2] - 0.5, r[:, 3] - 0.5, torch.full((len(r),), 2.0)], dim=1)
        found = model(origin, direction, r[:, 6])
        base = found["base_time"][:, None].expand(-1, 32)
        extra = {"net_spatial_flow": found["flow"], "base_times": base, "time_offset": r[:, 6:] - base}
        spec.check(case, outputs(model, found) | extra)


@torch.no_grad()
def test_surround_static_model():
    spec = Spec("hyperreel.sphere")
    model = load(spec, SPHERES)
    for case in range(2):
        r = spec.inputs(case)["r"]
        direction = torch.nn.functional.normalize(r[:, 3:6] - 0.5, dim=-1)
        found = model((r[:, :3] - 0.5) * 0.4, direction, torch.zeros(len(r)))
        spec.check(case, outputs(model, found))


@torch.no_grad()
def test_keyframe_volume_and_compositing():
    spec = Spec("hyperreel.volume")
    model = build(PLANES).eval()
    state = from_official({f"color_model.net.{n}": v for n, v in spec.state().items()})
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and all(n.startswith("network.") or n == "volume.occupancy" for n in missing)
    volume = model.volume
    for case in range(2):
        given = spec.inputs(case)
        points = volume.box[0] + (volume.box[1] - volume.box[0]) * (1.04 * given["points"] - 0.02)
        distance = given["steps"].cumsum(1) * 2 / 32
        distance[:, 0] = 0
        base = model.nearest_keyframe(given["times"][:, 0])
        density, place, clock = model.densities({"points": points, "distance": distance, "base_time": base})
        weights = compositing_weights(density, intervals(distance) * volume.scale)
        heading = torch.nn.functional.normalize(given["viewdirs"], dim=-1)[:, None].expand_as(points).flatten(0, 1)
        feature = volume.colour_feature(place, clock)
        colour = volume.shade(feature, heading).view_as(points) * (weights > 0)[..., None]
        colour = colour * (0.3 * given["color_scale"] + 1) + 0.3 * given["color_shift"]
        found = {
            "base_times": base[:, None],
            "density_feature": volume.density_feature(place, clock).view(weights.shape),
            "appearance_feature": feature.view(*weights.shape, -1),
            "render_weights": weights,
            "rgb": composite(weights, colour).clamp(0, 1),
        }
        spec.check(case, found)
