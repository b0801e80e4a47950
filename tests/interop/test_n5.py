"""N5 of z5py, tensorstore and zarr-python 2, and of daskzarr: what one writes, the other reads bit for bit."""

from dataclasses import dataclass, field
from importlib.metadata import version

import dask
import dask.array as da
import numpy as np
import pytest
import tensorstore

import daskzarr

from .cells import distinct, same
from .peers import as_known, did, drive, params, python_of

SHAPE, CHUNKS = (5, 7), (2, 3)
DTYPES = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]
TENSORSTORE = version("tensorstore")
Z5PY, ZARR2 = "3.0.2", "2.18.7"

COMPRESSIONS = {
    "raw": {"type": "raw"},
    "gzip": {"type": "gzip", "level": 5, "useZlib": False},
    "zlib": {"type": "gzip", "level": 5, "useZlib": True},
    "bzip2": {"type": "bzip2", "blockSize": 5},
    "xz": {"type": "xz", "preset": 3},
    "zstd": {"type": "zstd", "level": 3},
    "blosc": {"type": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1, "blocksize": 0, "nthreads": 1},
    "lz4": {"type": "lz4", "blockSize": 65536},
}


@dataclass(frozen=True)
class Case:
    """A dataset, how it is asked for, and with whom it is known to go wrong."""

    name: str
    data: np.ndarray
    chunks: tuple[int, ...] = CHUNKS
    compression: str = "raw"
    known: dict[str, str] = field(default_factory=dict)


def cases(known):
    """The arrays that all have."""
    for dtype in DTYPES:
        yield Case(dtype, distinct(SHAPE, dtype))
    for compression in COMPRESSIONS:
        yield Case(compression, distinct((20, 30), "i4"), (8, 16), compression, known.get(compression, {}))
    for shape, chunks in [
        ((10,), (3,)),
        ((9,), (3,)),
        ((3,), (8,)),
        ((4, 5, 6), (3, 2, 7)),
        ((2, 3, 4, 5), (1, 2, 3, 4)),
    ]:
        yield Case(f"shape {shape}", distinct(shape, "u2"), chunks, "gzip")


OURS = list(
    cases(
        {
            "lz4": {"tensorstore": "tensorstore-n5-lz4", "z5py": "z5py-lz4", "zarr2": "zarr2-n5-lz4"},
            "blosc": {"tensorstore": "tensorstore-n5-nthreads"},
        }
    )
)


def write_ours(path, case):
    with dask.config.set(scheduler="synchronous"):
        array = da.from_array(case.data, chunks=case.chunks)
        how = {"zarr_format": "n5", "compressor": COMPRESSIONS[case.compression], "attributes": {"title": "é"}}
        daskzarr.to_zarr(array, path, "g/a", chunks=case.chunks, **how)


def read_ours(path, component="g/a"):
    return daskzarr.from_zarr(path, component, zarr_format="n5").compute(scheduler="synchronous")


def tensorstore_of(path, **more):
    kvstore = {"driver": "file", "path": f"{path}/g/a"}
    return tensorstore.open({"driver": "n5", "kvstore": kvstore, **more}).result()


@pytest.mark.parametrize("case", params(OURS))
def test_tensorstore_reads_what_daskzarr_writes(case, tmp_path):
    write_ours(str(tmp_path), case)
    with as_known(case.known.get("tensorstore"), TENSORSTORE):
        same(tensorstore_of(tmp_path).read().result().T, case.data)


@pytest.mark.parametrize("case", params(case for case in OURS if case.compression != "lz4"))
def test_daskzarr_reads_what_tensorstore_writes(case, tmp_path):
    compression = {k: v for k, v in COMPRESSIONS[case.compression].items() if k != "nthreads"}
    metadata = {"dimensions": case.data.shape[::-1], "blockSize": case.chunks[::-1], "compression": compression}
    metadata |= {"dataType": case.data.dtype.name, "axes": [f"n{i}" for i in range(case.data.ndim)]}
    tensorstore_of(tmp_path, metadata=metadata, create=True).write(case.data.T).result()
    same(read_ours(str(tmp_path)), case.data)
    names = daskzarr.open_array(str(tmp_path), "g/a", zarr_format="n5").dimension_names
    assert names == tuple(metadata["axes"][::-1])


def test_tensorstore_wants_a_list_of_units(tmp_path):
    daskzarr.create_array(
        str(tmp_path), "g/a", shape=(4,), chunks=(2,), dtype="i4", zarr_format="n5", attributes={"units": "é"}
    )
    with as_known("tensorstore-n5-units", TENSORSTORE):
        same(tensorstore_of(tmp_path).read().result(), np.zeros(4, "i4"))


@pytest.fixture(scope="module")
def z5py(tmp_path_factory):
    """Everything written and read by z5py."""
    python, folder = python_of("z5py"), tmp_path_factory.mktemp("z5py")
    job = []
    for i, case in enumerate(OURS):
        ours, theirs, data = str(folder / f"o{i}.n5"), str(folder / f"t{i}.n5"), str(folder / f"{i}.npy")
        write_ours(ours, case)
        np.save(data, case.data)
        how = {"compression": COMPRESSIONS[case.compression]["type"], "chunks": case.chunks}
        item = {"component": "g/a", "data": data, "how": how, "attributes": {"title": "é", "n": [1, None]}}
        job += [{"do": "write", "path": theirs, **item}]
        job += [{"do": "read", "path": path, "component": "g/a", "out": path + ".npy"} for path in (ours, theirs)]
    answers = drive([python], "z5py_driver.py", job)
    triples = zip(*(zip(job[i::3], answers[i::3], strict=True) for i in range(3)), strict=True)
    return {case.name: triple for case, triple in zip(OURS, triples, strict=True)}


@pytest.mark.parametrize("case", params(OURS))
def test_z5py_reads_what_daskzarr_writes(case, z5py):
    _, (item, answer), _ = z5py[case.name]
    with as_known(case.known.get("z5py"), Z5PY):
        found = did(answer)
        same(np.load(item["out"]), case.data)
        assert found["attributes"] == {"title": "é"}
        assert tuple(found["chunks"]) == case.chunks


@pytest.mark.parametrize("case", params(OURS))
def test_daskzarr_reads_what_z5py_writes(case, z5py):
    (item, written), _, (theirs, read) = z5py[case.name]
    did(written)
    did(read)
    same(np.load(theirs["out"]), case.data)
    same(read_ours(item["path"]), case.data)
    attributes = daskzarr.open_array(item["path"], "g/a", zarr_format="n5").attrs
    assert {k: attributes[k] for k in ("title", "n")} == {"title": "é", "n": [1, None]}


@pytest.fixture(scope="module")
def zarr2(tmp_path_factory):
    """Everything written and read by zarr-python 2."""
    python, folder = python_of("zarr2"), tmp_path_factory.mktemp("zarr2n5")
    codecs = {"raw": None, "gzip": {"id": "gzip", "level": 5}, "bzip2": {"id": "bz2", "level": 5}}
    codecs |= {"xz": {"id": "lzma", "preset": 3}, "blosc": {"id": "blosc", "cname": "lz4"}, "lz4": {"id": "lz4"}}
    codecs |= {"zstd": {"id": "zstd", "level": 3}, "zlib": {"id": "zlib", "level": 3}}
    job = []
    for i, case in enumerate(OURS):
        ours, theirs, data = str(folder / f"o{i}.n5"), str(folder / f"t{i}.n5"), str(folder / f"{i}.npy")
        write_ours(ours, case)
        np.save(data, case.data)
        how = {"compressor": codecs[case.compression], "chunks": case.chunks, "dtype": case.data.dtype.str}
        item = {
            "component": "g/a",
            "data": data,
            "how": how,
            "store": "n5",
            "attributes": {"title": "é", "n": [1, None]},
        }
        job += [{"do": "write", "path": theirs, **item}]
        job += [
            {"do": "read", "path": path, "component": "g/a", "store": "n5", "out": path + ".npy"}
            for path in (ours, theirs)
        ]
    answers = drive([python], "zarr2_driver.py", job)
    triples = zip(*(zip(job[i::3], answers[i::3], strict=True) for i in range(3)), strict=True)
    return {case.name: triple for case, triple in zip(OURS, triples, strict=True)}


@pytest.mark.parametrize("case", params(OURS))
def test_zarr_python_2_reads_what_daskzarr_writes(case, zarr2):
    _, (item, answer), _ = zarr2[case.name]
    with as_known(case.known.get("zarr2"), ZARR2):
        did(answer)
        same(np.load(item["out"]), case.data)


@pytest.mark.parametrize("case", params(OURS))
def test_daskzarr_reads_what_zarr_python_2_writes(case, zarr2):
    (item, written), _, (theirs, read) = zarr2[case.name]
    did(written)
    did(read)
    same(np.load(theirs["out"]), case.data)
    same(read_ours(item["path"]), case.data)


def test_daskzarr_walks_a_container_of_z5py(z5py):
    (item, _), _, _ = z5py["i4"]
    same(daskzarr.from_zarr(item["path"], "g/a").compute(scheduler="synchronous"), OURS[4].data)
    members = dict(daskzarr.open_group(item["path"]).walk())
    assert sorted(members) == ["g", "g/a"]
    assert members["g/a"].attrs["title"] == "é"
