"""Episode sets over ReplicaCAD: written, read back, and what is said when a file is missing or damaged."""

import json
import math

import pytest
import torch

from vislab.cards import DataSet
from vislab.datasets import replicacad
from vislab.errors import UserError

DATASET = DataSet("ReplicaCAD episodes", "replicacad", "tidy_house_10k_1k_v1.episode_set.json", "https://example.org")


@pytest.fixture
def file(tmp_path):
    replicacad.read.cache_clear()
    return replicacad.write_sample(tmp_path)


def changed(file, **members):
    content = json.loads(file.read_text())
    content["episodeSet"] |= members
    file.write_text(json.dumps(content))
    replicacad.read.cache_clear()


def test_read_back(file):
    found = replicacad.read(DATASET, file)
    assert found.count.tolist() == [2, 3, 3] and found.objects.shape == (3, 3, 3)
    assert found.target.tolist() == [0, 1, 2] and found.scene.tolist() == [0, 1, 0]
    assert found.kinds == ("024_bowl", "003_cracker_box") and found.kind.tolist() == [[0, 1, 1], [0, 1, 0], [0, 1, 0]]
    # y-up (0.1 j, 0.7, k) becomes z-up (0.1 j, -k, 0.7)
    assert torch.allclose(found.objects[2, 1], torch.tensor([0.1, -2.0, 0.7]))
    assert torch.equal(found.objects[0, 1], found.objects[0, 2])
    assert torch.allclose(found.start[2], torch.tensor([1.0, -2.0, math.pi / 2]))
    assert torch.allclose(found.goal[1], torch.tensor([1.0, 0.5, 0.8]))
    seen, unseen = replicacad.split_scenes(found, ("Baked_sc3",))
    assert seen.tolist() == [0, 2] and unseen.tolist() == [1]


def test_missing_truncated_empty(file):
    whole = file.read_text()
    file.write_text(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cannot be read"):
        replicacad.read(DATASET, file)
    file.write_text("")
    with pytest.raises(UserError, match="is empty"):
        replicacad.read(DATASET, file)
    file.unlink()
    with pytest.raises(UserError, match="Expected layout"):
        replicacad.read(DATASET, file)


def test_an_empty_folder_is_named(tmp_path):
    replicacad.read.cache_clear()
    with pytest.raises(UserError, match="Expected layout"):
        replicacad.read(DATASET, tmp_path / "tidy_house_10k_1k_v1.episode_set.json")


def test_contradictions_are_named(file):
    episodes = json.loads(file.read_text())["episodeSet"]["episodes"]
    changed(file, episodes=[episodes[0] | {"targetObjIndex": 5}])
    with pytest.raises(UserError, match="none of its objects"):
        replicacad.read(DATASET, file)
    changed(file, episodes=[episodes[0] | {"firstFreeObjectSpawnIndex": 100}])
    with pytest.raises(UserError, match="beyond"):
        replicacad.read(DATASET, file)
    changed(file, episodes=[{k: v for k, v in episodes[0].items() if k != "targetObjGoalPos"}])
    with pytest.raises(UserError, match="targetObjGoalPos"):
        replicacad.read(DATASET, file)
    changed(file, episodes=[])
    with pytest.raises(UserError, match="no episode"):
        replicacad.read(DATASET, file)
