"""7-Scenes' layout: written, read back, and what is said when something is missing or damaged."""

import pytest
import torch

from vislab.cards import DataSet
from vislab.datasets import seven_scenes
from vislab.errors import UserError

DATASET = DataSet(
    "7-Scenes", "seven_scenes", "chess/TrainSplit.txt, chess/seq-01/frame-000000.color.png", "https://example.org"
)


@pytest.fixture
def scene(tmp_path):
    seven_scenes.frames.cache_clear()
    seven_scenes.write_sample(tmp_path)
    return tmp_path / "chess"


def test_read_back(scene):
    image, rotation, centre = seven_scenes.read(DATASET, scene, "train", torch.arange(3), 24)
    assert image.shape == (3, 3, 24, 32) and torch.equal(rotation, torch.eye(3).expand(3, 3, 3))
    assert torch.allclose(centre, torch.tensor([[0.0, 1, 1.5], [0.5, 1, 1.5], [1.0, 1, 1.5]]))
    assert torch.allclose(image.mean(dim=(2, 3))[:, 0], torch.tensor([0.0, 80, 160]) / 255, atol=0.01)
    assert torch.equal(seven_scenes.centres(DATASET, scene), centre)
    assert seven_scenes.read(DATASET, scene, "test", torch.tensor([0]), 24)[2][0, 1] == 2


def test_missing_and_damaged(scene):
    pose = scene / "seq-01/frame-000001.pose.txt"
    pose.write_text("1 0 0")
    with pytest.raises(UserError, match="4x4"):
        seven_scenes.read(DATASET, scene, "train", torch.arange(3), 24)
    pose.unlink()
    with pytest.raises(UserError, match="Expected layout"):
        seven_scenes.read(DATASET, scene, "train", torch.arange(3), 24)
    picture = scene / "seq-02/frame-000000.color.png"
    picture.write_bytes(picture.read_bytes()[:40])
    with pytest.raises(UserError, match="cannot be read"):
        seven_scenes.read(DATASET, scene, "test", torch.tensor([0]), 24)


def test_empty(tmp_path):
    seven_scenes.frames.cache_clear()
    (tmp_path / "chess").mkdir()
    with pytest.raises(UserError, match="Expected layout"):
        seven_scenes.frames(DATASET, tmp_path / "chess", "train")
    (tmp_path / "chess/TrainSplit.txt").write_text("nothing\n")
    with pytest.raises(UserError, match="no sequence"):
        seven_scenes.frames(DATASET, tmp_path / "chess", "train")
