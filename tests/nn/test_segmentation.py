"""Segmentation networks: strides and dilations, features that a classifier reads, alignment of the maps."""

import pytest
import torch
from torch import nn

from vislab.nn.segmentation import DilatedResNet, PSPNet, PyramidPooling, resize


def test_the_last_two_stages_dilate_and_do_not_stride():
    net = DilatedResNet(18, 8)
    outputs = net(torch.randn(2, 3, 65, 65))
    assert [tuple(o.shape[-2:]) for o in outputs] == [(17, 17), (9, 9), (9, 9), (9, 9)]
    assert [o.shape[1] for o in outputs] == net.widths == [8, 16, 32, 64]
    for stage, dilation in zip(net.stages, (1, 1, 2, 4), strict=True):
        wide = [m for m in stage.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
        assert {m.dilation for m in wide} == {(dilation, dilation)} and len(wide) == 4


@pytest.mark.parametrize(("depth", "last"), [(10, 512), (18, 512), (50, 2048), (101, 2048)])
def test_depths_have_their_widths(depth, last):
    with torch.device("meta"):
        assert DilatedResNet(depth).widths[-1] == last


def test_an_unknown_depth_is_refused():
    with pytest.raises(ValueError, match="depth 34 is not one of"):
        DilatedResNet(34)


def test_features_and_classify_are_the_two_halves_of_the_network():
    model = PSPNet(5, 10, 8, 16).eval()
    image = torch.randn(2, 3, 33, 49)
    features = model.features(image)
    assert features.shape == (2, 16, 5, 7) and (features >= 0).all()
    with torch.no_grad():
        assert torch.equal(model(image), model.classify(features, (33, 49)))
    with pytest.raises(ValueError, match="multiples of 8"):
        model.features(torch.zeros(1, 3, 64, 65))


def test_pooling_appends_means_over_grids():
    pool = PyramidPooling(8, (1, 2)).eval()
    x = torch.randn(1, 8, 6, 6)
    with torch.no_grad():
        out = pool(x)
    assert out.shape == (1, 16, 6, 6) and torch.equal(out[:, :8], x)
    whole = out[:, 8:12]
    assert torch.allclose(whole, whole[..., :1, :1].expand_as(whole))


def test_resizing_keeps_the_grid_of_the_features():
    small = torch.randn(1, 2, 9, 9)
    assert torch.allclose(resize(small, (65, 65))[..., ::8, ::8], small, atol=1e-6)
