"""Run by the Python of an environment with z5py: JOB ANSWER, both JSON files. Writes and reads N5 datasets."""

import json
import sys

import numpy as np


def write(item):
    data = np.load(item["data"])
    with z5py.File(item["path"], mode="a", use_zarr_format=False) as file:
        dataset = file.create_dataset(item["component"], shape=data.shape, dtype=data.dtype, **item["how"])
        dataset[...] = data
        for name, value in item.get("attributes", {}).items():
            dataset.attrs[name] = value
    return {}


def read(item):
    with z5py.File(item["path"], mode="r", use_zarr_format=False) as file:
        dataset = file[item["component"]]
        np.save(item["out"], dataset[...])
        return {"attributes": dict(dataset.attrs.items()), "chunks": list(dataset.chunks), "keys": sorted(file.keys())}


def answer(item):
    try:
        return {"did": {"write": write, "read": read}[item["do"]](item)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    import z5py

    with open(sys.argv[1]) as file:
        job = json.load(file)
    with open(sys.argv[2], "w") as file:
        json.dump([answer(item) for item in job], file)
