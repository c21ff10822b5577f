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


def test_grids_read_back(file):
    place = file.parent.parent / "columngrids" / "Baked_sc0_staging_00.0.columngrid"
    grid = replicacad.read_grid(DATASET, place)
    assert grid.free.shape == (2, 30, 40, 2) and grid.cell == pytest.approx(0.1)
    assert grid.radius == pytest.approx(0.015, abs=1e-6) and grid.origin == pytest.approx((-0.5, 0.0), abs=1e-6)
    # rows 5 to 10 of the file's z are rows 20 to 25 of y
    assert grid.free[0, 22, 7].tolist() == pytest.approx([0.8, 2.5]) and grid.free[1, 22, 7].isinf().all()
    assert grid.free[:, 5, 25].flatten().tolist() == pytest.approx([0.0, 0.6, 0.7, 2.5])
    boxes = replicacad.solid_boxes(grid, 4, 2.4)
    block, table = [0.5, 2.0, 0.0, 1.5, 2.5, 0.8], [2.0, 0.0, 0.6, 3.0, 1.0, 0.7]
    assert torch.allclose(boxes[0], torch.tensor(block), atol=1e-5)
    assert torch.allclose(boxes[1], torch.tensor(table), atol=1e-5)
    assert (boxes[2:, 5] < 0).all()


def test_damaged_grids_are_named(file):
    place = file.parent.parent / "columngrids" / "Baked_sc0_staging_00.0.columngrid"
    whole = place.read_bytes()
    for content, message in (
        (whole[:20], "header"),
        (whole[:-8], "length"),
        (b"x" * len(whole), "version"),
        (b"", "empty"),
    ):
        place.write_bytes(content)
        with pytest.raises(UserError, match=message):
            replicacad.read_grid(DATASET, place)
    place.unlink()
    with pytest.raises(UserError, match="Expected layout"):
        replicacad.read_grid(DATASET, place)


def test_an_l_is_two_rectangles():
    mask = torch.zeros(4, 5, dtype=torch.bool)
    mask[0, :4], mask[1:3, :2] = True, True
    found = replicacad._rectangles(mask.numpy(), 1.0)
    assert found == [(0.0, 0.0, 4.0, 1.0), (0.0, 1.0, 2.0, 3.0)]


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
