"""Groups, attributes and consolidated metadata: hierarchies of daskzarr in its peers, and of theirs in daskzarr."""

import json
import shutil
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import tensorstore
import xarray
import zarr

import daskzarr

from .cells import distinct, same
from .peers import ROOT, as_known, did, drive, python_of

FORMATS = pytest.mark.parametrize("zarr_format", [2, 3])
ATTRIBUTES = {"title": "é", "n": [1, None, {"a": 1.5}], "big": 2**53}
NODES = {"a": (5, 7), "g": None, "g/b": (4,), "g/h": None, "g/h/c": (3,), "empty": None}


def make_ours(path, zarr_format):
    """A hierarchy of daskzarr, consolidated."""
    for name, shape in NODES.items():
        how = {"attributes": ATTRIBUTES | {"name": name}, "zarr_format": zarr_format}
        if shape is None:
            daskzarr.create_group(path, name, **how)
        else:
            names = ["y", "x"][-len(shape) :]
            daskzarr.create_array(
                path, name, shape=shape, chunks=(2,) * len(shape), dtype="f4", dimension_names=names, **how
            )
    daskzarr.consolidate(path, zarr_format=zarr_format)


def make_theirs(path, zarr_format):
    """The same of zarr-python."""
    root = zarr.create_group(path, zarr_format=zarr_format)
    for name, shape in NODES.items():
        attributes = ATTRIBUTES | {"name": name}
        if shape is None:
            root.require_group(name).attrs.update(attributes)
            continue
        names = ["y", "x"][-len(shape) :]
        how = {"dimension_names": names} if zarr_format == 3 else {}
        array = root.create_array(name, shape=shape, chunks=(2,) * len(shape), dtype="f4", **how)
        array.attrs.update(attributes | ({} if how else {"_ARRAY_DIMENSIONS": names}))
    zarr.consolidate_metadata(path, zarr_format=zarr_format)


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*onsolidated metadata is currently not part")
        yield


def hidden(attributes):
    return {name: value for name, value in attributes.items() if name != "_ARRAY_DIMENSIONS"}


def hide_documents(path):
    """Take away all documents but the consolidated one: who reads below it all the same, reads that."""
    for name in ("zarr.json", ".zarray", ".zgroup", ".zattrs"):
        for found in Path(path).glob(f"*/**/{name}"):
            found.unlink()


@FORMATS
@pytest.mark.parametrize("consolidated", [True, False])
def test_zarr_python_walks_what_daskzarr_made(zarr_format, consolidated, tmp_path):
    path = str(tmp_path)
    make_ours(path, zarr_format)
    if consolidated:
        hide_documents(path)
    root = zarr.open_group(path, mode="r", zarr_format=zarr_format, use_consolidated=consolidated)
    members = dict(root.members(max_depth=None))
    assert sorted(members) == sorted(NODES)
    for name, shape in NODES.items():
        assert hidden(dict(members[name].attrs)) == ATTRIBUTES | {"name": name}
        assert getattr(members[name], "shape", None) == shape


@FORMATS
@pytest.mark.parametrize("consolidated", [True, False])
def test_daskzarr_walks_what_zarr_python_made(zarr_format, consolidated, tmp_path):
    path = str(tmp_path)
    make_theirs(path, zarr_format)
    if consolidated:
        hide_documents(path)
    members = dict(daskzarr.open_group(path, consolidated=consolidated).walk())
    assert sorted(members) == sorted(NODES)
    for name, shape in NODES.items():
        assert members[name].attrs == ATTRIBUTES | {"name": name}
        assert getattr(members[name], "shape", None) == shape
        assert shape is None or members[name].dimension_names == ("y", "x")[-len(shape) :]


@FORMATS
def test_both_consolidate_alike(zarr_format, tmp_path):
    ours, theirs = str(tmp_path / "ours"), str(tmp_path / "theirs")
    make_ours(ours, zarr_format)
    shutil.copytree(ours, theirs)
    zarr.consolidate_metadata(theirs, zarr_format=zarr_format)
    name = {2: ".zmetadata", 3: "zarr.json"}[zarr_format]
    found = [json.loads((Path(path) / name).read_text()) for path in (ours, theirs)]
    if zarr_format == 3:
        found = [document["consolidated_metadata"] for document in found]
    ours, theirs = ({key: told(value) for key, value in document["metadata"].items()} for document in found)
    assert {key: value for key, value in ours.items() if value} == {
        key: value for key, value in theirs.items() if value
    }
    assert {k: v for k, v in found[0].items() if k != "metadata"} == {
        k: v for k, v in found[1].items() if k != "metadata"
    }


def told(document):
    """What a document says; zarr-python also puts consolidated metadata, and lists of nothing, into those below."""
    extra = ("consolidated_metadata", "storage_transformers")
    return {name: value for name, value in document.items() if name not in extra}


@FORMATS
def test_xarray_opens_what_daskzarr_consolidated(zarr_format, tmp_path):
    path = str(tmp_path)
    for name in ("u", "v"):
        how = {"shape": (4, 6), "chunks": (2, 3), "dtype": "f4", "fill_value": 2.5, "zarr_format": zarr_format}
        daskzarr.create_array(path, name, dimension_names=["y", "x"], **how)
    daskzarr.consolidate(path)
    hide_documents(path)
    with xarray.open_dataset(path, engine="zarr", consolidated=True, chunks=None, mask_and_scale=False) as found:
        same(found["v"].values, np.full((4, 6), 2.5, "f4"))


def test_daskzarr_keeps_true_what_zarr_python_consolidated(tmp_path):
    path = str(tmp_path)
    make_theirs(path, 3)
    daskzarr.create_array(path, "g/new", shape=(4,), chunks=(2,), dtype="i4", attributes={"n": 1})
    daskzarr.update_attributes(path, {"changed": True}, "g/b")
    root = zarr.open_group(path, mode="r", use_consolidated=True)
    assert root["g/new"].attrs["n"] == 1
    assert root["g/b"].attrs["changed"] is True


def test_zarr_python_2_opens_what_daskzarr_consolidated(tmp_path):
    python, path = python_of("zarr2"), str(tmp_path / "h")
    make_ours(path, 2)
    hide_documents(path)
    job = [{"do": "read", "path": path, "component": "g/b", "consolidated": True, "out": path + ".npy"}]
    (answer,) = drive([python], "zarr2_driver.py", job)
    assert hidden(did(answer)["attributes"]) == ATTRIBUTES | {"name": "g/b"}
    same(np.load(path + ".npy"), np.zeros(4, "f4"))


@FORMATS
def test_zarrita_opens_what_daskzarr_consolidated(zarr_format, tmp_path):
    modules = ROOT / ".peers-zarrita" / "node_modules"
    if not modules.exists() or shutil.which("node") is None:
        pytest.skip("zarrita is not here: ci/peers installs it where there is npm")
    path = str(tmp_path / "h")
    make_ours(path, zarr_format)
    hide_documents(path)
    job = [{"do": "read", "path": path, "component": "g/h/c", "consolidated": True, "out": path + ".out"}]
    (answer,) = drive(["node"], "zarrita_driver.mjs", job, str(modules))
    assert hidden(did(answer)["attributes"]) == {**ATTRIBUTES, "name": "g/h/c"}


def test_tensorstore_opens_an_array_beside_consolidated_metadata(tmp_path):
    make_ours(str(tmp_path), 3)
    kvstore = {"driver": "file", "path": str(tmp_path / "a")}
    same(tensorstore.open({"driver": "zarr3", "kvstore": kvstore}).result().read().result(), np.zeros((5, 7), "f4"))


# ---- documents that peers take otherwise


def test_groups_with_unknown_members(tmp_path):
    daskzarr.create_array(str(tmp_path), "a", shape=(5,), chunks=(2,), dtype="i4")
    document = json.loads((tmp_path / "zarr.json").read_text()) | {"example": 1}
    (tmp_path / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(daskzarr.UnsupportedError, match="example"):
        daskzarr.open_group(str(tmp_path))


def test_names_alone_for_codecs(tmp_path):
    daskzarr.create_array(str(tmp_path), shape=(5,), chunks=(2,), dtype="u1", compressors=None)
    document = json.loads((tmp_path / "zarr.json").read_text()) | {"codecs": ["bytes", "crc32c"]}
    (tmp_path / "zarr.json").write_text(json.dumps(document))
    same(daskzarr.from_zarr(str(tmp_path)).compute(scheduler="synchronous"), np.zeros(5, "u1"))
    with as_known("zarr-python-bare-names", zarr.__version__):
        zarr.open_array(tmp_path, mode="r")
    with as_known("tensorstore-bare-names", version("tensorstore")):
        tensorstore.open({"driver": "zarr3", "kvstore": {"driver": "file", "path": str(tmp_path)}}).result()


def test_attributes_that_are_no_json(tmp_path):
    array = zarr.create_array(tmp_path, shape=(2,), chunks=(2,), dtype="i4", attributes={"n": float("nan")})
    assert np.isnan(daskzarr.open_array(str(tmp_path)).attrs["n"])
    assert np.isnan(array.attrs["n"])
    with as_known("zarr-python-nan-attributes", zarr.__version__):
        json.loads((tmp_path / "zarr.json").read_text(), parse_constant=_refuse)
    with pytest.raises(daskzarr.MetadataError):
        daskzarr.create_array({}, shape=(2,), chunks=(2,), dtype="i4", attributes={"n": float("nan")})


def _refuse(token):
    raise ValueError(token)


def test_nan_chunks_with_a_payload_are_kept(tmp_path):
    payload = np.array([0x7FC00001, 0x7FC00002], "u4").view("f4")
    zarr.create_array(tmp_path / "t", shape=(2,), chunks=(2,), dtype="f4", fill_value=np.nan)[...] = payload
    with as_known("zarr-python-nan-chunks", zarr.__version__):
        same(zarr.open_array(tmp_path / "t", mode="r")[...], payload)


def test_structures_of_v3_in_both_byte_orders(tmp_path):
    dtype = np.dtype([("a", "<i2"), ("b", ">f8")])
    data = distinct((5,), dtype)
    with warnings.catch_warnings(action="ignore"):
        zarr.create_array(tmp_path, shape=(5,), chunks=(2,), dtype=dtype)[...] = data
        with as_known("zarr-python-mixed-order", zarr.__version__):
            same(zarr.open_array(tmp_path, mode="r")[...], data)


def test_shards_below_a_transpose_are_refused_by_zarr_python(tmp_path):
    shard = {"chunk_shape": [3, 2], "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}]}
    shard["index_codecs"] = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
    codecs = [
        {"name": "transpose", "configuration": {"order": [1, 0]}},
        {"name": "sharding_indexed", "configuration": shard},
    ]
    daskzarr.create_array(str(tmp_path), shape=(4, 6), chunks=(4, 6), dtype="i2", codecs=codecs)
    with as_known("zarr-python-transpose-shards", zarr.__version__):
        same(zarr.open_array(tmp_path, mode="r")[...], np.zeros((4, 6), "i2"))


def test_generic_dates(tmp_path):
    daskzarr.create_array(str(tmp_path), shape=(5,), chunks=(2,), dtype="M8")
    same(daskzarr.from_zarr(str(tmp_path)).compute(scheduler="synchronous"), np.full(5, "NaT", "M8"))
    with as_known("zarr-python-generic-dates", zarr.__version__), warnings.catch_warnings(action="ignore"):
        zarr.open_array(tmp_path, mode="r")


def test_bytes_fill_values_as_lists(tmp_path):
    daskzarr.create_array(str(tmp_path), shape=(5,), chunks=(2,), dtype="bytes", fill_value=b"ab")
    document = json.loads((tmp_path / "zarr.json").read_text()) | {"fill_value": [97, 98]}
    (tmp_path / "zarr.json").write_text(json.dumps(document))
    assert daskzarr.from_zarr(str(tmp_path)).compute(scheduler="synchronous").tolist() == [b"ab"] * 5
    with as_known("zarr-python-bytes-fill", zarr.__version__), warnings.catch_warnings(action="ignore"):
        zarr.open_array(tmp_path, mode="r")
