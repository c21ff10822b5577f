"""Where real data sets lie, and what to say when one is missing or damaged."""

import os
from pathlib import Path

from vislab.cards import DataSet
from vislab.errors import UserError


def root() -> Path:
    """The folder of real data sets: $VISLAB_DATA, else ./data."""
    return Path(os.environ.get("VISLAB_DATA", "data"))


def locate(dataset: DataSet, folder: Path | str | None = None) -> Path:
    """The folder of `dataset`; raises UserError with folder, layout and page when it is missing or empty."""
    place = Path(folder) if folder is not None else root() / dataset.folder
    if not place.is_dir() or not any(place.iterdir()):
        raise UserError(missing(dataset, place))
    return place


def missing(dataset: DataSet, place: Path) -> str:
    """The message for a data set that is not there, or of which a file is not there."""
    return f"{dataset.name} is not at {place}.\nExpected layout:\n{dataset.layout}\nGet it from {dataset.page}"


def require(dataset: DataSet, file: Path) -> Path:
    """`file` if it exists and is not empty; otherwise a UserError that shows the layout."""
    if not file.is_file():
        raise UserError(missing(dataset, file))
    if file.stat().st_size == 0:
        raise UserError(f"{file} of {dataset.name} is empty; copy it again from {dataset.page}")
    return file


def damaged(dataset: DataSet, file: Path, why: object) -> UserError:
    """The error for a file that is truncated or of another format."""
    return UserError(f"{file} of {dataset.name} cannot be read ({why}); copy it again from {dataset.page}")
