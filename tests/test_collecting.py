"""failures="collect": what can be written is, and the error names exactly what is not, so that it can be mended."""

import pickle

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from daskzarr import DaskZarrError, WriteFailedError, create_array, from_zarr, open_array, to_zarr
from daskzarr.appending import append
from daskzarr.block_grid import BlockGrid, cuts
from daskzarr.chunk_grid import RegularGrid
from daskzarr.journal import journals_of
from daskzarr.ownership import assign
from daskzarr.stores import LocalStore, MappingStore, beside, locate
from daskzarr.storing import store
from daskzarr.testing import FaultyStore, distinct_values

VALUES = distinct_values((24, 12), "i4", 1)


class FailingBlocks:
    """Blocks that fail, by index; module level, so that they travel."""

    def __init__(self, bad=()):
        self.bad = set(bad)

    def __call__(self, block, block_info=None):
        if tuple(block_info[0]["chunk-location"]) in self.bad:
            raise ValueError("this block failed")
        return block

    def of(self, array):
        return array.map_blocks(self, dtype=array.dtype, meta=array._meta, name=f"failing-{array.name}")


def x(chunks=(4, 4), values=VALUES):
    return da.from_array(values, chunks=chunks)


def touching(blocks, array, chunks):
    """Keys of the stored objects that some blocks have cells in."""
    keys = set()
    edges = [np.cumsum((0, *lengths)) for lengths in array.chunks]
    for block in blocks:
        ranges = [range(axis[i], axis[i + 1]) for axis, i in zip(edges, block, strict=True)]
        keys |= {f"c/{i // chunks[0]}/{j // chunks[1]}" for i in ranges[0] for j in ranges[1]}
    return keys


def gathers(array, chunks):
    """Whether whole blocks travel to the tasks that write: then they are computed by tasks of their own."""
    blocks = BlockGrid(tuple(cuts(0, lengths) for lengths in array.chunks))
    return assign(blocks, RegularGrid(array.shape, chunks)).gathers


def failing(write, *args, **options):
    with pytest.raises(WriteFailedError) as caught:
        write(*args, failures="collect", **options)
    keys = [key for key, _ in caught.value.failures]
    assert len(keys) == len(set(keys))
    return caught.value, set(keys)


def written_keys(mapping, lead=""):
    return {key.removeprefix(lead) for key in mapping if key.startswith(f"{lead}c/")}


@st.composite
def cases(draw):
    blocks = (draw(st.integers(3, 24)), draw(st.integers(3, 12)))
    chunks = (draw(st.integers(3, 24)), draw(st.integers(3, 12)))
    array = x(blocks)
    every = list(np.ndindex(*array.numblocks))
    return blocks, chunks, set(draw(st.lists(st.sampled_from(every), min_size=1, max_size=3)))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases())
def test_failing_blocks_are_named_by_the_objects_they_have_cells_in(case):
    blocks, chunks, bad = case
    mapping = {}
    array = x(blocks)
    assume(not gathers(array, chunks))
    error, keys = failing(to_zarr, FailingBlocks(bad).of(array), mapping, chunks=chunks)
    every = {f"c/{i}/{j}" for i in range(-(-24 // chunks[0])) for j in range(-(-12 // chunks[1]))}
    assert keys >= touching(bad, array, chunks)  # and what else the tasks that want them write
    assert written_keys(mapping) == every - keys
    assert f"{len(keys)} objects were not written" in str(error)
    to_zarr(array, mapping, mode="r+", only=keys)
    np.testing.assert_array_equal(from_zarr(mapping).compute(), VALUES)


@pytest.mark.parametrize(
    ("blocks", "chunks"), [((4, 4), (4, 4)), ((9, 6), (4, 6)), ((9, 6), (3, 3)), ((8, 12), (4, 4))], ids=str
)
@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_failing_blocks(blocks, chunks, scheduler):
    mapping = {}
    array = x(blocks)
    bad = {(1, 0), (2, 0)}
    assert not gathers(array, chunks)
    with dask.config.set(scheduler=scheduler):
        error, keys = failing(to_zarr, FailingBlocks(bad).of(array), mapping, chunks=chunks)
    reasons = {reason for _, reason in error.failures}
    assert any("ValueError: this block failed" in reason for reason in reasons)
    assert keys >= touching(bad, array, chunks)
    assert not keys & written_keys(mapping)


def test_failing_blocks_that_are_gathered():
    array = x()
    assert gathers(array, (12, 12))
    mapping = {}
    _, keys = failing(to_zarr, FailingBlocks({(1, 0)}).of(array), mapping, chunks=(12, 12))
    assert keys == {"c/0/0"}
    assert written_keys(mapping) == {"c/1/0"}


def test_blocks_that_have_their_objects_alone_fail_alone():
    for blocks, chunks in [((4, 4), (4, 4)), ((8, 4), (4, 4)), ((8, 12), (2, 3))]:
        mapping = {}
        array = x(blocks)
        _, keys = failing(to_zarr, FailingBlocks({(1, 0)}).of(array), mapping, chunks=chunks)
        assert keys == touching({(1, 0)}, array, chunks)


def test_steps_before_and_after_the_one_that_fails_are_fused_with_it(tmp_path):
    to_zarr(x(), tmp_path / "source")
    array = FailingBlocks({(2, 1)}).of(from_zarr(tmp_path / "source", chunks=(4, 4)) + 1) * 2
    _, keys = failing(to_zarr, array, tmp_path / "target", chunks=(4, 4))
    assert keys == {"c/2/1"}
    (tmp_path / "source" / "c" / "3" / "2").write_bytes(b"no chunk")
    _, keys = failing(to_zarr, array, tmp_path / "again", chunks=(4, 4))
    assert keys == {"c/2/1", "c/3/2"}


def test_a_source_that_several_blocks_need_and_that_fails_is_an_error_all_the_same():
    """What is not fused with the task that writes fails as it always does: with its own error."""
    array = FailingBlocks({(0, 0)}).of(x()).sum(axis=1, keepdims=True) + x()
    with pytest.raises((ValueError, WriteFailedError), match="this block failed"):
        to_zarr(array, {}, failures="collect")


@pytest.mark.parametrize(
    ("blocks", "chunks", "bad"),
    [((4, 4), (4, 4), "c/2/1"), ((5, 5), (4, 4), "c/1/1"), ((4, 4), (12, 12), "c/0/0")],
    ids=["aligned", "pieces", "gathered"],
)
def test_failing_stores(blocks, chunks, bad):
    mapping = {}
    broken = FaultyStore(MappingStore(mapping), {bad: PermissionError("no")}, on=["set"])
    error, keys = failing(to_zarr, x(blocks), broken, chunks=chunks)
    assert bad in keys
    assert "no" in dict(error.failures)[bad]
    every = {f"c/{i}/{j}" for i in range(24 // chunks[0]) for j in range(12 // chunks[1])}
    assert every - written_keys(mapping) <= keys
    assert bad not in written_keys(mapping)
    to_zarr(x(blocks), mapping, mode="r+", only=keys)
    np.testing.assert_array_equal(from_zarr(mapping).compute(), VALUES)


def test_only_the_objects_that_were_not_stored_are_named():
    """A block with several objects, of which the store refuses one."""
    mapping = {}
    broken = FaultyStore(MappingStore(mapping), {"c/1/1": PermissionError("no")}, on=["set"])
    _, keys = failing(to_zarr, x((24, 12)), broken, chunks=(8, 4))
    assert keys == {"c/1/1"}
    assert len(written_keys(mapping)) == 8


@pytest.mark.parametrize("chunks", [5, 7, 40])
def test_cells_that_do_not_fit(chunks):
    values = np.arange(40, dtype="i8")
    values[13] = 2**40
    mapping = {}
    create_array(mapping, shape=(40,), chunks=(chunks,), dtype="i2", fill_value=-1)
    error, keys = failing(to_zarr, da.from_array(values, chunks=5), mapping, mode="r+")
    assert f"c/{13 // chunks}" in keys
    assert not keys & written_keys(mapping)
    assert "do not fit" in dict(error.failures)[f"c/{13 // chunks}"]


def test_a_chunk_to_be_merged_with_that_is_damaged():
    mapping = {}
    create_array(mapping, shape=(40,), chunks=(10,), dtype="i4", fill_value=-1)
    to_zarr(da.arange(40, chunks=10, dtype="i4"), mapping, mode="r+")
    mapping["c/3"] = b"no chunk"
    error, keys = failing(to_zarr, da.zeros(30, chunks=10, dtype="i4"), mapping, mode="r+", region=slice(5, 35))
    assert "c/3" in keys
    assert any("CodecError" in reason for _, reason in error.failures)


# ---- mended


@pytest.mark.parametrize(("blocks", "chunks"), [((4, 4), (4, 4)), ((9, 6), (4, 6)), ((8, 12), (4, 4))], ids=str)
def test_what_is_missing_is_written_by_resume(tmp_path, blocks, chunks):
    place = tmp_path / "a.zarr"
    array = x(blocks)
    _, keys = failing(to_zarr, FailingBlocks({(1, 0), (2, 0)}).of(array), place, chunks=chunks)
    (journal,) = journals_of(locate(place), beside(locate(place)))
    assert not journal.finished
    every = {f"c/{i}/{j}" for i in range(24 // chunks[0]) for j in range(12 // chunks[1])}
    assert set(journal.receipts()) == every - keys
    to_zarr(FailingBlocks().of(array), place, chunks=chunks, resume=True)
    np.testing.assert_array_equal(from_zarr(place).compute(), VALUES)
    assert journal.finished


def test_an_overwriting_that_fails_leaves_the_old_array(tmp_path):
    place = tmp_path / "a.zarr"
    to_zarr(da.arange(5, chunks=2), place)
    failing(to_zarr, FailingBlocks({(1, 1)}).of(x()), place, overwrite=True)
    np.testing.assert_array_equal(from_zarr(place).compute(), range(5))
    to_zarr(FailingBlocks().of(x()), place, overwrite=True, resume=True)
    np.testing.assert_array_equal(from_zarr(place).compute(), VALUES)


def test_an_append_that_fails_does_not_grow(tmp_path):
    place = tmp_path / "a.zarr"
    to_zarr(da.from_array(VALUES[:6], chunks=-1), place, chunks=(4, 4))
    _, keys = failing(append, FailingBlocks({(1, 0)}).of(x((9, 12))), place, at=6)
    assert keys
    assert open_array(place).shape == (6, 12)
    np.testing.assert_array_equal(from_zarr(place).compute(), VALUES[:6])
    append(FailingBlocks().of(x((9, 12))), place, at=6)
    np.testing.assert_array_equal(from_zarr(place).compute(), np.concatenate([VALUES[:6], VALUES]))


def test_several_arrays_of_which_one_fails(tmp_path):
    for name in "ab":
        create_array(tmp_path / name, shape=VALUES.shape, chunks=(4, 4), dtype="i4")
    sources = [x(), FailingBlocks({(2, 0)}).of(x())]
    _, keys = failing(store, sources, [(tmp_path, "a"), (tmp_path, "b")])
    assert len(keys) == 1
    np.testing.assert_array_equal(from_zarr(tmp_path / "a").compute(), VALUES)
    store([x(), FailingBlocks().of(x())], [(tmp_path, "a"), (tmp_path, "b")])
    np.testing.assert_array_equal(from_zarr(tmp_path / "b").compute(), VALUES)


def test_joint_objects_of_regions_that_fail():
    mapping = {}
    array = create_array(mapping, shape=VALUES.shape, chunks=(4, 4), dtype="i4")
    parts = [np.s_[:10], np.s_[10:]]
    sources = [x((5, 4))[parts[0]], FailingBlocks({(0, 1)}).of(x((5, 4), VALUES[10:]))]
    _, keys = failing(store, sources, [array, array], regions=parts)
    assert keys >= {"c/2/1", "c/3/1"}
    every = {f"c/{i}/{j}" for i in range(6) for j in range(3)}
    assert written_keys(mapping) == every - keys


def test_without_failures_nothing_is_different():
    mapping = {}
    written = to_zarr(x((5, 5)), mapping, chunks=(4, 4), failures="collect", compute=False).compute()
    assert (written.objects, written.failures) == (18, ())
    np.testing.assert_array_equal(from_zarr(mapping).compute(), VALUES)
    with pytest.raises(ValueError, match="this block failed"):
        to_zarr(FailingBlocks({(0, 0)}).of(x()), {})


# ---- on a cluster


@pytest.fixture(scope="module")
def client():
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.mark.parametrize(("blocks", "chunks"), [((4, 4), (4, 4)), ((9, 6), (4, 6))], ids=str)
def test_failures_cross_processes(client, tmp_path, blocks, chunks):
    place = tmp_path / "a.zarr"
    array, value = x(blocks), VALUES[7, 5]

    def fail_here(block):
        if (block == value).any():
            raise ValueError("this block failed")
        return block

    bad = array.map_blocks(fail_here, dtype="i4", meta=array._meta)
    error, keys = failing(to_zarr, bad, place, chunks=chunks, token="mine")
    assert keys >= {f"c/{7 // chunks[0]}/{5 // chunks[1]}"}
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.failures, str(again)) == (WriteFailedError, error.failures, str(error))
    to_zarr(array, place, chunks=chunks, token="mine", resume=True)
    np.testing.assert_array_equal(from_zarr(place).compute(scheduler="sync"), VALUES)


def test_a_store_that_fails_on_a_cluster(client, tmp_path):
    broken = FaultyStore(LocalStore(str(tmp_path)), {"c/2/1": PermissionError("no")}, on=["set"])
    error, keys = failing(to_zarr, x(), broken)
    assert keys == {"c/2/1"}
    assert isinstance(error, DaskZarrError)
    to_zarr(x(), tmp_path, mode="r+", only=keys)
    np.testing.assert_array_equal(from_zarr(tmp_path).compute(scheduler="sync"), VALUES)
