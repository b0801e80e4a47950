"""How many requests things cost: each is counted, by kind and key."""

import dask
import dask.array as da
import numpy as np
import pytest

from daskzarr import AlignmentError, create_array, create_group, from_zarr, open_array, open_group, plan, to_zarr
from daskzarr.stores import LocalStore, MappingStore
from daskzarr.testing import READS, RecordingStore, distinct_values
from daskzarr.write_plan import fan_in

SHAPE, CHUNKS = (7, 10), (2, 3)
CELLS = distinct_values(SHAPE, "float64", start=1)
ALL_KEYS = sorted(f"{i}/{j}" for i in range(4) for j in range(4))


@pytest.fixture(params=["mapping", "local"])
def store(request, tmp_path):
    """A store that counts: one that only gets, and one that can read into memory."""
    return RecordingStore(MappingStore({}) if request.param == "mapping" else LocalStore(str(tmp_path)))


@pytest.fixture(params=["zstd", None], ids=["compressed", "raw"])
def compressors(request):
    return request.param


def blocks(cells=CELLS, chunks=CHUNKS):
    return da.from_array(cells, chunks=chunks)


def put_array(store, component=None, cells=CELLS, **options):
    """Store the cells, then forget what it cost."""
    to_zarr(blocks(cells), store, component, **options)
    store.clear()


def chunk_keys(*indices, lead="c/"):
    return sorted(f"{lead}{i}/{j}" for i, j in indices)


def touched(rows, columns):
    """Indices of the chunks that hold some of these cells."""
    return {(i // CHUNKS[0], j // CHUNKS[1]) for i in range(*rows) for j in range(*columns)}


# Opening


@pytest.mark.parametrize("component", [None, "a/b"])
@pytest.mark.parametrize("zarr_format", [3, None])
@pytest.mark.parametrize("verb", [from_zarr, open_array])
def test_opening_a_v3_array_is_one_get(store, component, zarr_format, verb):
    put_array(store, component)
    verb(store, component, zarr_format=zarr_format)
    assert store.requests == [("get", f"{component}/zarr.json" if component else "zarr.json")]


def test_reading_a_v2_array_whose_format_is_named_is_one_get(store):
    put_array(store, "a", zarr_format=2)
    from_zarr(store, "a", zarr_format=2)
    assert store.requests == [("get", "a/.zarray")]
    store.clear()
    open_array(store, "a", zarr_format=2)
    assert store.requests == [("get", "a/.zarray"), ("get", "a/.zattrs")]


def test_a_v2_array_whose_format_is_not_named_takes_one_get_more(store):
    put_array(store, "a", zarr_format=2)
    from_zarr(store, "a")
    assert store.requests == [("get", "a/zarr.json"), ("get", "a/.zarray")]


def test_an_opened_array_is_read_without_opening_it_again(store):
    put_array(store)
    array = open_array(store)
    store.clear()
    read = from_zarr(array, chunks="auto")
    assert store.requests == []
    np.testing.assert_array_equal(read.compute(), CELLS)


def test_opening_a_group_is_one_get(store):
    create_group(store, "g")
    store.clear()
    open_group(store, "g")
    assert store.requests == [("get", "g/zarr.json")]


def test_looking_for_a_node_that_is_not_there_asks_for_each_document_once(store):
    with pytest.raises(FileNotFoundError):
        from_zarr(store, "a")
    names = ("zarr.json", ".zarray", ".zgroup", "attributes.json")
    assert store.requests == [("get", f"a/{name}") for name in names]


def test_what_does_not_compute_costs_nothing(store):
    put_array(store)
    read = from_zarr(store)
    store.clear()
    (read[2:5, ::2] + 1).sum(axis=0).rechunk(2)
    repr(read), read.chunks, read.dtype, read._repr_html_(), read.nbytes
    dask.optimize(read + 1)
    assert store.requests == []


# Reading

SLICES = {
    "all": (slice(None), slice(None)),
    "one chunk": (slice(2, 4), slice(3, 6)),
    "part of one chunk": (slice(3, 4), slice(4, 6)),
    "edge chunk": (slice(6, 7), slice(9, 10)),
    "across chunks": (slice(1, 5), slice(2, 7)),
    "row": (slice(3, 4), slice(None)),
    "column": (slice(None), slice(5, 6)),
    "nothing": (slice(2, 2), slice(None)),
}


@pytest.mark.parametrize("chunks", [None, "auto", (3, 4)], ids=["stored", "auto", "odd"])
@pytest.mark.parametrize("index", SLICES.values(), ids=list(SLICES))
def test_reading_gets_each_chunk_once_and_no_other(store, compressors, chunks, index):
    put_array(store, compressors=compressors)
    read = from_zarr(store, chunks=chunks)[index]
    store.clear()
    np.testing.assert_array_equal(read.compute(), CELLS[index])
    wanted = touched(*(part.indices(n)[:2] for part, n in zip(index, SHAPE, strict=True)))
    assert sorted(store.keys(*READS)) == chunk_keys(*wanted)
    assert set(store.count()) <= set(READS)


@pytest.mark.parametrize("chunks", [None, "auto", (4, 6)], ids=["stored", "auto", "2 x 2"])
@pytest.mark.parametrize("index", [SLICES["all"], SLICES["across chunks"]], ids=["all", "across chunks"])
def test_computing_with_what_is_read_gets_each_chunk_once(store, compressors, chunks, index):
    put_array(store, compressors=compressors)
    read = from_zarr(store, chunks=chunks)[index]
    store.clear()
    np.testing.assert_array_equal((read + 1).compute(), CELLS[index] + 1)
    wanted = touched(*(part.indices(n)[:2] for part, n in zip(index, SHAPE, strict=True)))
    assert sorted(store.keys(*READS)) == chunk_keys(*wanted)
    assert set(store.count()) <= set(READS)


@pytest.mark.parametrize(
    ("index", "wanted"),
    [
        ((3, slice(None)), touched((3, 4), (0, 10))),
        ((3, 4), touched((3, 4), (4, 5))),
        ((-1, -1), {(3, 3)}),
        ((slice(None), [4, 5]), touched((0, 7), (4, 6))),
        ((slice(4, None, -1), slice(3, 6)), touched((0, 5), (3, 6))),
        ((None, slice(0, 2), 0), {(0, 0)}),
    ],
    ids=["integer", "cell", "last cell", "list", "backwards", "new axis"],
)
def test_other_indices_get_each_chunk_once_and_no_other(store, index, wanted):
    put_array(store)
    read = from_zarr(store)[index]
    store.clear()
    np.testing.assert_array_equal(read.compute(), CELLS[index])
    assert sorted(store.keys(*READS)) == chunk_keys(*wanted)


def test_a_slice_of_a_slice_gets_what_the_last_one_shows(store):
    put_array(store)
    read = from_zarr(store)[2:][:, 3:9][:2, :3]
    store.clear()
    np.testing.assert_array_equal(read.compute(), CELLS[2:4, 3:6])
    assert store.keys(*READS) == ["c/1/1"]


def test_absent_chunks_are_asked_for_once_too(store, compressors):
    create_array(store, shape=SHAPE, chunks=CHUNKS, dtype="int16", fill_value=7, compressors=compressors)
    for read in (from_zarr(store), from_zarr(store, chunks="auto"), from_zarr(store) + 0):
        store.clear()
        np.testing.assert_array_equal(read.compute(), np.full(SHAPE, 7, "int16"))
        assert sorted(store.keys(*READS)) == [f"c/{key}" for key in ALL_KEYS]


def test_two_results_that_share_a_read_get_its_chunks_once(store):
    put_array(store)
    read = from_zarr(store)
    store.clear()
    low, high = dask.compute(read.min(), read.max())
    assert (low, high) == (CELLS.min(), CELLS.max())
    assert sorted(store.keys(*READS)) == [f"c/{key}" for key in ALL_KEYS]


def test_reading_v2_gets_each_chunk_once(store):
    put_array(store, "a", zarr_format=2)
    read = from_zarr(store, "a", zarr_format=2)
    store.clear()
    np.testing.assert_array_equal(read.compute(), CELLS)
    assert sorted(store.keys(*READS)) == sorted("a/" + key.replace("/", ".") for key in ALL_KEYS)


# Writing a new array


@pytest.mark.parametrize("zarr_format", [3, 2])
@pytest.mark.parametrize("component", [None, "g/h/a"])
def test_writing_a_new_array_sets_each_object_once(store, compressors, zarr_format, component):
    to_zarr(blocks(), store, component, zarr_format=zarr_format, compressors=compressors)
    here = f"{component}/" if component else ""
    array, group = ("zarr.json", "zarr.json") if zarr_format == 3 else (".zarray", ".zgroup")
    keys = [f"c/{key}" if zarr_format == 3 else key.replace("/", ".") for key in ALL_KEYS]
    parents = [group, f"g/{group}", f"g/h/{group}"] if component else []
    assert sorted(store.keys("set")) == sorted([*parents, here + array, *(here + key for key in keys)])
    assert not set(store.keys(*READS)) & {here + key for key in keys}
    assert set(store.count()) <= {"get", "get_many", "set"}
    documents = [key for key in store.keys("set") if key.rsplit("/")[-1] in (array, group)]
    assert store.keys("set")[: len(documents)] == documents  # documents come before chunks


@pytest.mark.parametrize("stored_chunks", [(1, 3), (2, 1), (1, 1)])
def test_a_block_of_several_stored_chunks_sets_each_once(store, stored_chunks):
    to_zarr(blocks(), store, chunks=stored_chunks)
    counts = [-(-n // c) for n, c in zip(SHAPE, stored_chunks, strict=True)]
    expected = [f"c/{i}/{j}" for i in range(counts[0]) for j in range(counts[1])]
    assert sorted(store.keys("set")) == sorted([*expected, "zarr.json"])
    assert not any(key.startswith("c/") for key in store.keys(*READS))


@pytest.mark.parametrize("fill", [0, 5.0, float("nan")])
def test_chunks_of_nothing_but_fill_are_not_set(store, compressors, fill):
    cells = CELLS.copy()
    cells[2:4], cells[:, 9:] = fill, fill
    to_zarr(blocks(cells), store, fill_value=fill, compressors=compressors)
    empty = {(1, j) for j in range(4)} | {(i, 3) for i in range(4)}
    wanted = {(i, j) for i in range(4) for j in range(4)} - empty
    assert sorted(store.keys("set")) == [*chunk_keys(*wanted), "zarr.json"]
    assert not any(key.startswith("c/") for key in store.keys(*READS))
    np.testing.assert_array_equal(from_zarr(store).compute(), cells)


def test_an_array_of_nothing_but_fill_sets_its_document_alone(store, compressors):
    to_zarr(blocks(np.zeros(SHAPE)), store, compressors=compressors)
    assert store.keys("set") == ["zarr.json"]
    assert not any(key.startswith("c/") for key in store.keys(*READS))


def test_chunks_of_nothing_but_fill_are_set_if_that_is_asked_for(store):
    to_zarr(blocks(np.zeros(SHAPE)), store, write_empty_chunks=True)
    assert sorted(store.keys("set")) == [*(f"c/{key}" for key in ALL_KEYS), "zarr.json"]
    assert set(store.count()) <= {"get", "get_many", "set"}


def test_making_an_array_sets_its_document_alone(store):
    create_array(store, shape=SHAPE, chunks=CHUNKS, dtype="int16")
    assert store.keys("set") == ["zarr.json"]
    assert sorted(store.keys(*READS)) == [".zarray", ".zgroup", "attributes.json", "zarr.json"]
    assert set(store.count()) <= {"get", "get_many", "set"}


def test_overwriting_deletes_once_and_gets_no_chunk(store):
    put_array(store, "a")
    to_zarr(blocks(CELLS + 1), store, "a", overwrite=True)
    assert store.keys("delete_below") == ["a"]
    assert sorted(store.keys("set")) == [*(f"a/c/{key}" for key in ALL_KEYS), "a/zarr.json"]
    assert not any("/c/" in key for key in store.keys(*READS))


def test_a_write_that_waits_writes_the_document_and_no_chunk(store):
    write = to_zarr(blocks(), store, compute=False)
    assert store.keys("set") == ["zarr.json"]
    store.clear()
    write.compute()
    assert sorted(store.keys("set")) == [f"c/{key}" for key in ALL_KEYS]
    assert set(store.count()) == {"set"}


def test_returning_what_was_stored_reads_nothing_before_it_is_computed(store):
    stored = to_zarr(blocks(), store, return_stored=True)
    assert not any(key.startswith("c/") for key in store.keys(*READS))
    store.clear()
    np.testing.assert_array_equal(stored.compute(), CELLS)
    assert sorted(store.keys(*READS)) == [f"c/{key}" for key in ALL_KEYS]


SHARING = [(3, 4), (1, 1), (7, 4), ((1, 2, 4), (10,)), ((4, 3), (5, 5))]


@pytest.mark.parametrize("align", ["merge", "rechunk"])
@pytest.mark.parametrize("chunks", SHARING, ids=str)
def test_writing_blocks_that_share_chunks_sets_each_object_once(store, compressors, chunks, align):
    to_zarr(blocks(chunks=chunks), store, chunks=CHUNKS, compressors=compressors, align=align)
    assert sorted(store.keys("set")) == [*(f"c/{key}" for key in ALL_KEYS), "zarr.json"]
    assert not any(key.startswith("c/") for key in store.keys(*READS))
    assert set(store.count()) <= {"get", "get_many", "set"}
    np.testing.assert_array_equal(from_zarr(store).compute(), CELLS)


@pytest.mark.parametrize("chunks", SHARING, ids=str)
def test_a_refused_write_costs_a_look_at_most(store, chunks):
    with pytest.raises(AlignmentError):
        to_zarr(blocks(chunks=chunks), store, chunks=CHUNKS, align="error")
    assert store.requests == []
    put_array(store)
    with pytest.raises(AlignmentError):
        to_zarr(blocks(chunks=chunks), store, mode="r+", align="error")
    assert store.requests == [("get", "zarr.json")]


def test_a_plan_costs_what_looking_around_does(store):
    plan(blocks(chunks=(3, 4)), store, chunks=CHUNKS)
    assert set(store.count()) <= {"get", "get_many"}
    assert not any(key.startswith("c/") for key in store.keys(*READS))


@pytest.mark.parametrize("chunks", [CHUNKS, (3, 4)], ids=["own chunks", "shared chunks"])
def test_a_journal_on_files_costs_a_request_for_a_few_chunks(tmp_path, chunks):
    """Beside the documents of the journal, so many appends; the data's own store gets no more than without one."""
    cells = distinct_values((70, 40), "float64", start=1)
    counts = [-(-n // c) for n, c in zip(cells.shape, CHUNKS, strict=True)]
    requests = {}
    for journal in (False, RecordingStore(LocalStore(str(tmp_path / "journal")))):
        store = RecordingStore(LocalStore(str(tmp_path / str(bool(journal)))))
        to_zarr(da.from_array(cells, chunks=chunks), store, chunks=CHUNKS, journal=journal)
        np.testing.assert_array_equal(from_zarr(store.store).compute(), cells)
        requests[bool(journal)] = sorted(store.requests)
        objects = [key for key in store.keys("set") if key.startswith("c/")]
        assert len(objects) == len(set(objects)) == counts[0] * counts[1]
    assert requests[True] == requests[False]
    leaves = plan(da.from_array(cells, chunks=chunks), {}, chunks=CHUNKS).leaves[0][0]
    assert len(journal.keys("append")) == -(-leaves // fan_in(leaves, True)) <= leaves / 4 + 1
    assert not any("/c/" in key for _, key in journal.requests)
    assert len(journal.requests) - len(journal.keys("append")) <= 12


def test_a_journal_elsewhere_costs_an_object_for_a_few_chunks():
    cells = distinct_values((70, 40), "float64", start=1)
    store, journal = RecordingStore(MappingStore({})), RecordingStore(MappingStore({}))
    to_zarr(da.from_array(cells, chunks=CHUNKS), store, journal=journal)
    chunks = 35 * 14
    assert len(store.keys("set")) == chunks + 1
    assert len(journal.keys("set", "create")) <= -(-chunks // fan_in(chunks, True)) + 2
    np.testing.assert_array_equal(from_zarr(store).compute(), cells)


# Writing into an array that exists


@pytest.mark.parametrize("way", ["mode", "opened"])
def test_writing_into_an_array_sets_each_chunk_once_and_gets_none(store, compressors, way):
    put_array(store, compressors=compressors)
    target = open_array(store)
    store.clear()
    to_zarr(blocks(CELLS + 1), target if way == "opened" else store, mode="r+" if way == "mode" else "w-")
    assert sorted(store.keys("set")) == [f"c/{key}" for key in ALL_KEYS]
    assert set(store.keys("get")) <= {"zarr.json"}
    assert set(store.count()) <= {"get", "get_many", "set"}
    np.testing.assert_array_equal(from_zarr(store).compute(), CELLS + 1)


@pytest.mark.parametrize(
    ("region", "wanted"),
    [
        ((slice(2, 4), slice(3, 9)), {(1, 1), (1, 2)}),
        ((slice(4, 7), slice(6, 10)), {(2, 2), (2, 3), (3, 2), (3, 3)}),
        ((..., slice(9, 10)), {(i, 3) for i in range(4)}),
        ((slice(6, 7),), {(3, j) for j in range(4)}),
    ],
    ids=["inside", "corner", "last column", "last row"],
)
def test_writing_a_region_sets_its_chunks_once_and_gets_none(store, compressors, region, wanted):
    put_array(store, compressors=compressors)
    cells = CELLS.copy()
    cells[region] += 1
    start = [part.start or 0 for part in (region if region[0] is not ... else (slice(None), *region[1:]))]
    assert all(s % c == 0 for s, c in zip(start, CHUNKS, strict=False))
    to_zarr(blocks(cells[region]), store, region=region, mode="r+")
    assert sorted(store.keys("set")) == chunk_keys(*wanted)
    assert store.keys(*READS) == ["zarr.json"]
    assert set(store.count()) <= {"get", "get_many", "set"}
    np.testing.assert_array_equal(from_zarr(store).compute(), cells)


@pytest.mark.parametrize("align", ["merge", "rechunk"])
@pytest.mark.parametrize("chunks", [-1, (1, 4), (3, 1)], ids=str)
@pytest.mark.parametrize(
    "region",
    [
        (slice(1, 4), slice(2, 9)),
        (slice(3, 4), slice(4, 5)),
        (slice(1, 3), slice(None)),
        (..., slice(1, 10)),
        (slice(5, 7), slice(8, 10)),
        slice(0, 5),
    ],
    ids=str,
)
def test_writing_a_region_that_cuts_chunks_gets_those_once_and_sets_each_once(
    store, compressors, region, chunks, align
):
    put_array(store, compressors=compressors)
    cells = CELLS.copy()
    cells[region] *= -1
    to_zarr(blocks(cells[region], chunks), store, region=region, mode="r+", align=align)
    new = np.zeros(SHAPE, bool)
    new[region] = True
    corners = {(i, j): np.s_[2 * i : 2 * i + 2, 3 * j : 3 * j + 3] for i in range(4) for j in range(4)}
    wanted = {index for index, box in corners.items() if new[box].any()}
    cut = {index for index in wanted if not new[corners[index]].all()}
    assert sorted(store.keys("set")) == chunk_keys(*wanted)
    assert sorted(store.keys(*READS)) == [*chunk_keys(*cut), "zarr.json"]
    assert not store.keys("delete", "delete_below")
    np.testing.assert_array_equal(from_zarr(store).compute(), cells)


def test_writing_fill_over_chunks_deletes_each_once_and_gets_none(store):
    put_array(store)
    to_zarr(blocks(np.zeros((2, 10))), store, region=slice(2, 4), mode="r+")
    assert sorted(store.keys("delete")) == [f"c/1/{j}" for j in range(4)]
    assert store.keys("set") == []
    assert store.keys(*READS) == ["zarr.json"]


def test_copying_an_array_gets_and_sets_each_chunk_once(store, compressors):
    put_array(store, "a", compressors=compressors)
    read = from_zarr(store, "a")
    store.clear()
    to_zarr(read * 2, store, "b")
    assert sorted(key for key in store.keys(*READS) if "/c/" in key) == [f"a/c/{key}" for key in ALL_KEYS]
    assert sorted(key for key in store.keys("set") if "/c/" in key) == [f"b/c/{key}" for key in ALL_KEYS]


def test_two_writes_computed_together_get_what_they_share_once(store):
    put_array(store, "a")
    read = from_zarr(store, "a")
    writes = [to_zarr(read + i, store, f"b{i}", compute=False) for i in range(2)]
    store.clear()
    dask.compute(*writes)
    assert sorted(store.keys(*READS)) == [f"a/c/{key}" for key in ALL_KEYS]
    assert sorted(store.keys("set")) == sorted(f"b{i}/c/{key}" for i in range(2) for key in ALL_KEYS)
