"""Class-incremental protocol: tasks, herding against brute force, forgetting by hand."""

import pytest
import torch

from vislab.engine.continual import forgetting, herding, incremental_accuracy, mixed_batch, share, tasks


def test_tasks_hold_every_class_once():
    assert tasks(6, 3) == [[0, 1], [2, 3], [4, 5]]
    shuffled = tasks(20, 5, seed=1)
    assert (
        sorted(sum(shuffled, [])) == list(range(20)) and shuffled != tasks(20, 5) and shuffled == tasks(20, 5, seed=1)
    )
    with pytest.raises(ValueError, match="7 classes do not make 2"):
        tasks(7, 2)


def test_herding_is_the_greedy_choice_and_its_beginnings_agree():
    features = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    target, chosen = features.mean(0), []
    for _ in range(6):
        rest = [k for k in range(30) if k not in chosen]
        chosen.append(min(rest, key=lambda k: float((features[[*chosen, k]].mean(0) - target).norm())))
    assert herding(features, 6).tolist() == chosen
    assert herding(features, 3).tolist() == chosen[:3]
    assert sorted(herding(features, 99).tolist()) == list(range(30))


def test_herded_exemplars_are_nearer_to_the_mean_than_the_first_ones():
    features = torch.randn(200, 8, generator=torch.Generator().manual_seed(1))
    gap = [(features[rows].mean(0) - features.mean(0)).norm() for rows in (herding(features, 10), torch.arange(10))]
    assert gap[0] < 0.3 * gap[1]


def test_a_memory_is_shared_evenly():
    assert [share(2000, n) for n in (10, 20, 100)] == [200, 100, 20]


def test_mixed_batches_keep_their_sizes_and_visit_everything():
    new, old = zip(*(mixed_batch(24, 10, 0, step, (6, 2)) for step in range(20)), strict=True)
    assert all(len(n) == 6 and len(o) == 2 for n, o in zip(new, old, strict=True))
    assert torch.equal(torch.cat(new[:4]).sort().values, torch.arange(24))
    assert torch.equal(torch.cat(old[:5]).sort().values, torch.arange(10))


MATRIX = torch.tensor([[90.0, 0, 0], [60.0, 80.0, 0], [30.0, 70.0, 95.0]])


def test_accuracy_over_what_was_seen_and_what_was_forgotten():
    assert incremental_accuracy(MATRIX, [4, 4, 8]).tolist() == pytest.approx([90.0, 70.0, 72.5])
    assert forgetting(MATRIX) == pytest.approx((60.0 + 10.0) / 2)
    assert forgetting(MATRIX[:1, :1]) == 0.0
