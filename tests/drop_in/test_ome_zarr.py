"""ome-zarr with daskzarr in Dask: what it writes is what it writes without, and it reads it back."""

import json
import warnings
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
from numpy.testing import assert_array_equal

import daskzarr
from daskzarr.graph.read import ZarrArray

zarr = pytest.importorskip("zarr")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("ome_zarr.writer")
    from ome_zarr.format import FormatV04, FormatV05
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader
    from ome_zarr.writer import write_image, write_labels

pytestmark = pytest.mark.filterwarnings("ignore")  # ome-zarr's own are not ours to mend
CELLS = (np.arange(2 * 5 * 97 * 110) % 65521).astype("uint16").reshape(2, 5, 97, 110)
FORMATS = pytest.mark.parametrize("fmt", [FormatV04(), FormatV05()], ids=["0.4", "0.5"])
OPTIONS = {"chunks": (1, 3, 32, 40)}


@pytest.fixture
def installed():
    daskzarr.install_dask()
    yield
    daskzarr.uninstall_dask()


def image(chunks=(1, 2, 50, 64)):
    return da.from_array(CELLS, chunks=chunks)


def write(place, fmt, *, compute=True, options=OPTIONS, source=None):
    """A pyramid and labels, as ome-zarr writes them; what is still to be computed."""
    group = zarr.open_group(place, mode="w", zarr_format=fmt.zarr_format)
    source = image() if source is None else source
    named = {"axes": "czyx", "scale_factors": (2, 4), "fmt": fmt, "storage_options": options, "compute": compute}
    jobs = write_image(source, group, **named)
    return jobs + write_labels((source // 5000).astype("int16"), group, name="cells", **named)


def stored(place):
    """Every document and every array of a store, by path."""
    documents, arrays = {}, {}
    for file in sorted(Path(place).rglob("*")):
        if file.name in ("zarr.json", ".zarray", ".zgroup") or (file.name == ".zattrs" and file.read_text() != "{}"):
            documents[str(file.relative_to(place))] = json.loads(file.read_text())
    for path in documents:
        node = zarr.open(Path(place, path).parent)
        if isinstance(node, zarr.Array):
            arrays[path] = node[...]
    return documents, arrays


def assert_same(place, other):
    documents, arrays = stored(place)
    expected, cells = stored(other)
    assert documents.keys() == expected.keys()
    for path, document in documents.items():
        assert comparable(document) == comparable(expected[path]), path
    assert len(cells) >= 6
    for path in cells:
        assert_array_equal(arrays[path], cells[path])


def comparable(document):
    """What a document says: members that say the same by being there or not are left out."""
    return {key: value for key, value in document.items() if key not in ("storage_transformers", "attributes") or value}


@FORMATS
@pytest.mark.parametrize("compute", [True, False])
def test_a_pyramid_and_labels_are_those_that_dask_writes(tmp_path, fmt, compute):
    write(tmp_path / "dask", fmt)
    daskzarr.install_dask()
    try:
        jobs = write(tmp_path / "ours", fmt, compute=compute)
        assert bool(jobs) is not compute
        dask.compute(*jobs)
    finally:
        daskzarr.uninstall_dask()
    assert_same(tmp_path / "ours", tmp_path / "dask")


def test_shards_and_codecs(tmp_path, installed):
    options = {"chunks": (1, 1, 16, 20), "shards": (2, 5, 64, 60), "compressors": zarr.codecs.ZstdCodec(level=3)}
    write(tmp_path, FormatV05(), options=options)
    array = zarr.open_array(tmp_path / "s0")
    assert (array.chunks, array.shards) == (options["chunks"], options["shards"])
    assert_array_equal(array[...], CELLS)
    assert_array_equal(zarr.open_array(tmp_path / "labels/cells/s0")[...], CELLS // 5000)


@FORMATS
def test_what_it_reads_is_read_by_daskzarr(tmp_path, fmt, installed):
    write(tmp_path, fmt)
    node = next(iter(Reader(parse_url(tmp_path))()))
    assert [type(level) for level in node.data] == [ZarrArray] * 3
    assert_array_equal(node.data[0].compute(), CELLS)
    assert_array_equal(node.data[1][1, 3:, 10:20, -9:].compute(), zarr.open_array(tmp_path / "s1")[1, 3:, 10:20, -9:])


@FORMATS
def test_from_store_to_store(tmp_path, fmt):
    write(tmp_path / "a", fmt)
    # ome-zarr scales block by block, so that what comes out depends on the blocks: the same both times
    write(tmp_path / "dask", fmt, source=da.from_zarr(tmp_path / "a/s0"))
    daskzarr.install_dask()
    try:
        source = next(iter(Reader(parse_url(tmp_path / "a"))())).data[0]
        assert isinstance(source, ZarrArray)
        write(tmp_path / "ours", fmt, source=source)
    finally:
        daskzarr.uninstall_dask()
    assert_same(tmp_path / "ours", tmp_path / "dask")
