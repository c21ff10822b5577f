"""ACE against the authors' network, with homogeneous coordinates and without."""

import dataclasses

import pytest
import torch
from safetensors.torch import save_file

from tests.parity.helper import Spec
from vislab.papers.geometry.ace.card import PROFILES
from vislab.papers.geometry.ace.model import build
from vislab.papers.geometry.ace.official import from_official, joined
from vislab.papers.geometry.ace.train import RELEASED, load_backbone


@pytest.mark.parametrize(("name", "homogeneous"), [("ace", True), ("ace.euclidean", False)])
@torch.no_grad()
def test_network(name, homogeneous):
    spec = Spec(name)
    model = build(dataclasses.replace(PROFILES["paper"], homogeneous=homogeneous)).eval()
    model.load_state_dict(from_official(spec.state()))
    for case in range(len(spec.json["cases"])):
        (grey,) = spec.inputs(case).values()
        features = model.backbone(grey)
        spec.check(case, {"features": features, "scene_coordinates": model.head(features)})
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(spec.json["parameters"], abs=10)


@torch.no_grad()
def test_the_released_backbone_is_read_from_safetensors(tmp_path, monkeypatch):
    monkeypatch.setenv("VISLAB_ZOO", str(tmp_path))
    spec, config = Spec("ace"), dataclasses.replace(PROFILES["paper"], backbone="released")
    state = spec.state()
    encoder = {n.removeprefix("encoder."): v for n, v in state.items() if n.startswith("encoder.")}
    save_file(encoder, tmp_path / RELEASED)
    model = build(config).eval()
    load_backbone(model, config)
    wanted = from_official(state)
    assert encoder and all(torch.equal(v, wanted[f"backbone.{n}"]) for n, v in model.backbone.state_dict().items())


def test_released_files_have_no_prefixes():
    state = joined({"conv1.bias": torch.zeros(1)}, {"fc3.bias": torch.zeros(4), "h_beta": torch.zeros(1)})
    assert set(from_official(state)) == {"backbone.stem.0.bias", "head.out.bias"}
    with pytest.raises(ValueError, match="neither"):
        from_official({"encoder.fc.bias": torch.zeros(1)})
