"""VisDrone and UAVDT: what was written is read back, and what is wrong is said."""

import pytest
import torch

from vislab.datasets import uavdt, visdrone
from vislab.datasets.base import locate
from vislab.errors import UserError
from vislab.papers.perception.ceasc.card import DATASETS

VISDRONE, UAVDT = DATASETS


def test_visdrone_is_read_back_without_ignored_regions(tmp_path):
    visdrone.write_sample(tmp_path)
    frames = visdrone.frames(VISDRONE, tmp_path, "val")
    assert len(frames) == 3
    for k, frame in enumerate(frames):
        image, boxes, labels = visdrone.read(VISDRONE, frame)
        assert image.shape == (3, 30, 40) and labels.tolist() == [k]
        assert boxes.tolist() == [[5 + k, 6, 15 + k, 14]]
        assert torch.allclose(image.mean(dim=(1, 2)) * 255, torch.tensor([60.0 * k, 100, 200]), atol=4)


def test_uavdt_is_read_back_frame_by_frame(tmp_path):
    uavdt.write_sample(tmp_path)
    frames = uavdt.frames(UAVDT, tmp_path, "test")
    assert [f.number for f in frames] == [1, 2, 3]
    for k, frame in enumerate(frames):
        image, boxes, labels = uavdt.read(UAVDT, frame)
        assert image.shape == (3, 30, 40) and labels.tolist() == [k] and boxes.tolist() == [[5 + k, 6, 15 + k, 14]]


@pytest.mark.parametrize(("dataset", "reader", "split"), [(VISDRONE, visdrone, "train"), (UAVDT, uavdt, "train")])
def test_missing_truncated_and_empty(tmp_path, dataset, reader, split):
    with pytest.raises(UserError, match="Expected layout"):
        locate(dataset, tmp_path)
    reader.write_sample(tmp_path)
    frame = reader.frames(dataset, tmp_path, split)[0]
    content = frame.picture.read_bytes()
    frame.picture.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="cannot be read"):
        reader.read(dataset, frame)
    frame.picture.write_bytes(content)
    forget = getattr(getattr(reader, "_boxes", None), "cache_clear", lambda: None)  # UAVDT keeps a sequence's boxes
    forget()
    lines = frame.annotation.read_text()
    frame.annotation.write_text(lines[: lines.index(",", 6)])
    with pytest.raises(UserError, match="numbers"):
        reader.read(dataset, frame)
    frame.annotation.unlink()
    forget()
    with pytest.raises(UserError, match="Expected layout"):
        reader.read(dataset, frame)
    frame.annotation.write_text("")
    forget()
    with pytest.raises(UserError, match="is empty"):
        reader.read(dataset, frame)
