"""The authors' denoiser and pure MLP, rule v1 weights, same outputs."""

import pytest
import torch

from tests.parity.helper import Spec
from vislab.papers.humans.agrol.model import MotionMLP, PureMLP
from vislab.papers.humans.agrol.official import from_official


def test_outputs_of_the_authors_denoiser():
    spec = Spec("agrol")
    model = MotionMLP(196, 512, 12)
    assert sum(p.numel() for p in model.parameters()) == spec.json["parameters"]
    model.load_state_dict(from_official(spec.state()))
    for case in range(len(spec.json["cases"])):
        given = spec.inputs(case)
        sparse = torch.zeros_like(given["sparse_emb"]) if given["force_mask"] else given["sparse_emb"]
        with torch.no_grad():
            spec.check(case, {"x0": model(given["x"], given["timesteps"], sparse)})


def test_outputs_of_the_authors_mlp():
    spec = Spec("agrol.pure_mlp")
    model = PureMLP(196, 512, 12)
    assert sum(p.numel() for p in model.parameters()) == spec.json["parameters"]
    model.load_state_dict(from_official(spec.state()))
    with torch.no_grad():
        spec.check(0, {"motion": model(spec.inputs(0)["motion_input"])})


def test_an_unknown_tensor_is_refused():
    with pytest.raises(KeyError, match=r"decoder\.weight"):
        from_official({"decoder.weight": torch.zeros(1)})
