"""Run by the Python of an environment with zarr-python 2: JOB ANSWER, both JSON files. Writes and reads arrays."""

import json
import sys
import warnings

import numcodecs
import numpy as np


def codec(config):
    if config is None:
        return None
    if config["id"] == "pickle":
        return numcodecs.Pickle()
    return numcodecs.get_codec(dict(config))


def store_of(item):
    """The store at a path, of the kind that is asked for."""
    names = {"directory": "DirectoryStore", "nested": "NestedDirectoryStore", "zip": "ZipStore", "n5": "N5Store"}
    return getattr(zarr, names[item.get("store", "directory")])(item["path"])


def write(item):
    how = dict(item["how"])
    data = np.load(item["data"], allow_pickle=True) if "data" in item else None
    if "fill" in item:
        how["fill_value"] = np.load(item["fill"], allow_pickle=True)[()]
    for name in ("compressor", "object_codec"):
        if name in how:
            how[name] = codec(how[name])
    how["filters"] = [codec(config) for config in how.get("filters") or []] or None
    if isinstance(how.get("dtype"), list):
        how["dtype"] = dtype_of(how["dtype"])
    store = store_of(item)
    array = zarr.create(
        store=store,
        path=item.get("component"),
        shape=item["shape"] if data is None else data.shape,
        overwrite=False,
        **how,
    )
    array.attrs.update(item.get("attributes", {}))
    if data is not None:
        array[...] = data
    if item.get("consolidate"):
        zarr.consolidate_metadata(store)
    store.close()


def dtype_of(spec):
    return np.dtype(
        [
            tuple(
                dtype_of(p) if isinstance(p, list) and i == 1 else tuple(p) if isinstance(p, list) else p
                for i, p in enumerate(field)
            )
            for field in spec
        ]
    )


def read(item):
    if item.get("consolidated"):
        node = zarr.open_consolidated(item["path"], mode="r")[item["component"]]
    else:
        node = zarr.open(store_of(item), mode="r", path=item.get("component"))
    found = {"attributes": dict(node.attrs), "fill": str(node.fill_value)}
    np.save(item["out"], node[...], allow_pickle=True)
    return found


def members(item):
    group = zarr.open_group(item["path"], mode="r")
    names = []
    group.visit(names.append)
    return {"names": sorted(names), "attributes": dict(group.attrs)}


def answer(item):
    try:
        return {"did": {"write": write, "read": read, "members": members}[item["do"]](item)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    import zarr

    warnings.simplefilter("ignore")
    with open(sys.argv[1]) as file:
        job = json.load(file)
    with open(sys.argv[2], "w") as file:
        json.dump([answer(item) for item in job], file)
