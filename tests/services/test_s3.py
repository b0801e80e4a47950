"""S3 for real: the contract of a store, and the traps of s3fs."""

import json
import os
import uuid

import pytest
from fsspec.core import url_to_fs

from daskzarr.stores import FilesystemStore
from daskzarr.testing import StoreContract

lines = {name: os.environ.get(f"DASKZARR_TEST_{name}") for name in ("S3", "S3_MOTO")}
pytestmark = pytest.mark.skipif(not any(lines.values()), reason="needs a server: ci/services")


@pytest.fixture(params=[name for name, line in lines.items() if line])
def place(request):
    """URL of a folder of this test's own, and the options."""
    url, options = lines[request.param].split(" ", 1)
    return f"{url}/{uuid.uuid4().hex}/a.zarr", json.loads(options)


class TestS3(StoreContract):
    @pytest.fixture
    def store(self, place):
        url, options = place
        self.secrets = [options["secret"]]
        fs, root = url_to_fs(url, **options)
        store = FilesystemStore(fs, root, url)
        yield store
        store.delete_below("")
