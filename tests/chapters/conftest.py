"""Executed chapters, shared with the book's tests."""

import pytest

from tests.book import shared


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    return shared.folder(tmp_path_factory)


@pytest.fixture
def published(place, monkeypatch):
    """Records for every paper."""
    monkeypatch.setenv("VISLAB_RESULTS", str(shared.results(place)))
