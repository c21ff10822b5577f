"""Wrong labels: shares by matrix, items by index, doubtful items first."""

import pytest
import torch

from vislab.ops.label_noise import asymmetric, corrupted, instance_dependent, symmetric

INDEX = torch.arange(20_000)
LABEL = INDEX % 10


@pytest.mark.parametrize(("own", "right"), [(True, 0.19), (False, 0.1)])
def test_symmetric_noise_leaves_the_stated_share_right(own, right):
    matrix = symmetric(10, 0.9, own)
    assert torch.allclose(matrix.sum(dim=1), torch.ones(10))
    found = corrupted(LABEL, matrix, 0, INDEX)
    assert float((found == LABEL).double().mean()) == pytest.approx(right, abs=0.01)
    others = torch.bincount(found[LABEL == 3], minlength=10)
    assert others[[0, 1, 2, 4, 5, 6, 7, 8, 9]].float().std() < 25


def test_asymmetric_noise_goes_to_the_partner_alone():
    found = corrupted(LABEL, asymmetric([0, 2, 2, 5, 4, 3, 6, 7, 8, 1], 0.4), 1, INDEX)
    assert set(found[LABEL == 1].tolist()) == {1, 2} and set(found[LABEL == 0].tolist()) == {0}
    assert float((found[LABEL == 9] == 1).double().mean()) == pytest.approx(0.4, abs=0.04)


def test_an_items_label_does_not_depend_on_its_batch():
    matrix = symmetric(10, 0.5)
    whole = corrupted(LABEL, matrix, 0, INDEX)
    some = torch.tensor([5, 17, 4001])
    assert torch.equal(corrupted(LABEL[some], matrix, 0, some), whole[some])
    assert not torch.equal(corrupted(LABEL, matrix, 1, INDEX), whole)


def test_instance_dependent_noise_takes_the_doubtful_items_and_their_likeliest_wrong_class():
    probability = torch.tensor([[0.9, 0.1, 0.0], [0.5, 0.1, 0.4], [0.2, 0.5, 0.3], [0.0, 0.0, 1.0]])
    label = torch.tensor([0, 0, 0, 2])
    found = instance_dependent(probability, label, 0.5, 0, torch.arange(4))
    assert found.tolist() == [0, 2, 1, 2]
