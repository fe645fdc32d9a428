"""Fixtures that several test files share."""

from pathlib import Path

import pytest

from tests.project import Finished, Project, finish, new_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A fresh copy, in which nothing has run."""
    return new_project(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return finish(new_project(tmp_path_factory.mktemp("finished")))
