"""PASCAL-5i and COCO-20i: samples written and read back, folds, rendered masks; missing, truncated and empty data are named."""

import numpy as np
import pytest
import torch
from PIL import Image

from vislab.cards import DataSet
from vislab.datasets import coco_20i, label_maps, pascal_5i
from vislab.datasets.base import locate
from vislab.errors import UserError

PASCAL = DataSet("PASCAL-5i", "pascal_5i", "pascal_5i/train.txt", "https://voc.example")
COCO = DataSet("COCO-20i", "coco_20i", "coco_20i/train.txt", "https://coco.example")
KINDS = {"pascal": (PASCAL, pascal_5i), "coco": (COCO, coco_20i)}


@pytest.fixture(params=KINDS)
def sample(request, tmp_path):
    dataset, reader = KINDS[request.param]
    reader.write_sample(tmp_path)
    if request.param == "coco":
        assert [coco_20i.render_masks(COCO, tmp_path, part) for part in coco_20i.PARTS] == [3, 3]
    label_maps.listed.cache_clear()
    label_maps.areas.cache_clear()
    return dataset, tmp_path


def test_items_are_read_back(sample):
    dataset, root = sample
    image, label = label_maps.read(dataset, root, "test", torch.arange(3), 65)
    assert image.shape == (3, 3, 65, 65) and label.shape == (3, 65, 65)
    for k in range(3):
        # 50 by 40 pixels become 64 by 48, at the top left
        assert image[k, :, 20, 30].tolist() == pytest.approx([80 * k / 255, 40 / 255, (200 - 80 * k) / 255], abs=0.03)
        assert int(label[k, 24, 24]) == k + 1 and int(label[k, 2, 2]) == 0
        assert (label[k, 48:] == 255).all() and (label[k, :, 64:] == 255).all()
        assert (image[k, :, 48:] == 0).all()


def test_areas_are_the_pixels_of_every_class(sample):
    dataset, root = sample
    found = label_maps.areas(dataset, root, "validation", 20)
    assert found.shape == (3, 20) and (found > 0).nonzero().tolist() == [[0, 0], [1, 1], [2, 2]]
    with pytest.raises(UserError, match="labels above 2"):
        label_maps.areas(dataset, root, "validation", 2)


def test_faults_are_named(sample):
    dataset, root = sample
    picture, mask = (root / path for path in label_maps.listed(dataset, root, "test")[1])
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(mask)
    with pytest.raises(UserError, match="its picture"):
        label_maps.read(dataset, root, "test", torch.tensor([1]), 65)
    picture.write_bytes(picture.read_bytes()[:300])
    with pytest.raises(UserError, match=rf"{picture.name} of {dataset.name} cannot be read"):
        label_maps.read(dataset, root, "test", torch.tensor([1]), 65)
    picture.unlink()
    with pytest.raises(UserError, match="Expected layout"):
        label_maps.read(dataset, root, "test", torch.tensor([1]), 65)
    (root / "val.txt").write_text("one two three\n")
    label_maps.listed.cache_clear()
    with pytest.raises(UserError, match="is not `PICTURE LABELS`"):
        label_maps.listed(dataset, root, "test")
    (root / "val.txt").unlink()
    with pytest.raises(UserError, match="Expected layout"):
        label_maps.listed(dataset, root, "test")


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(UserError, match="COCO-20i is not at"):
        locate(COCO, tmp_path)


def test_instances_are_drawn_in_order_without_crowds(tmp_path):
    coco_20i.write_sample(tmp_path)
    coco_20i.render_masks(COCO, tmp_path, "val")
    mask = np.asarray(Image.open(tmp_path / "val" / "COCO_val2014_000000000002.png"))
    assert mask.shape == (40, 50) and set(np.unique(mask)) == {0, 3} and (mask == 3).sum() == 24 * 24
    file = tmp_path / "annotations" / "instances_val2014.json"
    file.write_text(file.read_text()[:-20])
    with pytest.raises(UserError, match=r"instances_val2014\.json of COCO-20i cannot be read"):
        coco_20i.render_masks(COCO, tmp_path, "val")
    file.unlink()
    with pytest.raises(UserError, match="Expected layout"):
        coco_20i.render_masks(COCO, tmp_path, "val")


def test_folds_of_the_released_code():
    assert [pascal_5i.novel_classes(k) for k in (0, 3)] == [(1, 2, 3, 4, 5), (16, 17, 18, 19, 20)]
    assert pascal_5i.novel_classes(1, 10) == tuple(range(11, 21))
    assert coco_20i.novel_classes(0)[:3] == (1, 5, 9) and coco_20i.novel_classes(3)[-1] == 80
    assert sorted(sum((coco_20i.novel_classes(k) for k in range(4)), ())) == list(range(1, 81))
    for call in (
        lambda: pascal_5i.novel_classes(4),
        lambda: pascal_5i.novel_classes(2, 10),
        lambda: coco_20i.novel_classes(4),
    ):
        with pytest.raises(ValueError, match="fold"):
            call()
