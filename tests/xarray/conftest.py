"""What the tests of the writer share: a place for a dataset, and tasks that run one after the other."""

import dask
import pytest


@pytest.fixture
def place(tmp_path):
    return str(tmp_path / "a.zarr")


@pytest.fixture
def one_after_the_other():
    with dask.config.set(scheduler="sync"):
        yield
