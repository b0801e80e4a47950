"""Images go back and forth between daskzarr, ome-zarr and ome-zarr-models, which ``ci/ome`` installs."""

import warnings

import dask.array as da
import numpy as np
import pytest

import daskzarr
from daskzarr.ome import Axis, list_labels, open_multiscales, write_multiscales

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    zarr = pytest.importorskip("zarr")
    pytest.importorskip("ome_zarr")
    models = pytest.importorskip("ome_zarr_models")
    from ome_zarr.format import FormatV04, FormatV05
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader
    from ome_zarr.scale import Methods
    from ome_zarr.writer import write_image, write_labels
    from ome_zarr_models.v04.image_label import ImageLabel as ImageLabelV04

pytestmark = pytest.mark.filterwarnings("ignore")
VERSIONS = {"0.4": FormatV04(), "0.5": FormatV05()}
VALUES = np.random.default_rng(5).permutation(2 * 3 * 9 * 41 * 52).astype("u4").reshape(2, 3, 9, 41, 52)


def read_by_ome_zarr(place):
    """All levels as ome-zarr reads them, and what it says of them; label images come after the image."""
    node = next(node for node in Reader(parse_url(place))() if node.data)
    return node.data, node.metadata


def attributes_by_models(place):
    """The multiscales as ome-zarr-models reads and checks them."""
    found = models.open_ome_zarr(zarr.open_group(str(place), mode="r"))
    return found.attributes.multiscales[0] if found.ome_zarr_version == "0.4" else found.ome_attributes.multiscales[0]


@pytest.mark.parametrize("method", ["mean", "nearest"])
@pytest.mark.parametrize(("axes", "shape"), [("tczyx", VALUES.shape), ("czyx", (3, 9, 41, 52)), ("yx", (41, 52))])
@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_what_is_written_is_valid_and_read_alike(tmp_path, version, axes, shape, method):
    values = VALUES.reshape(-1)[: int(np.prod(shape))].reshape(shape)
    scale = dict(zip("zyx", (2, 0.5, 0.25), strict=True)) if "z" in axes else {"y": 0.5, "x": 0.25}
    place = tmp_path / "img"
    omero = {
        "channels": [
            {"color": "FF0000", "label": f"{n}", "active": True, "window": {"start": 0, "end": 9, "min": 0, "max": 99}}
            for n in range(3)
        ]
    }
    write_multiscales(
        da.from_array(values, chunks=16),
        place,
        axes=axes,
        scale=scale,
        units=dict.fromkeys(scale, "micrometer"),
        levels=4,
        method=method,
        chunks=8,
        shards=16 if version == "0.5" else None,
        version=version,
        name="img",
        ome={"omero": omero} if "c" in axes else None,
    )
    ours = open_multiscales(place)
    arrays, metadata = read_by_ome_zarr(place)
    assert len(arrays) == len(ours.levels) == 4
    for level, array in zip(ours.levels, arrays, strict=True):
        np.testing.assert_array_equal(level.array, array)
    assert [axis["name"] for axis in metadata["axes"]] == list(axes)
    found = attributes_by_models(place)
    assert [(axis.name, axis.type, axis.unit) for axis in found.axes] == [(a.name, a.type, a.unit) for a in ours.axes]
    for level, dataset, steps in zip(ours.levels, found.datasets, metadata["coordinateTransformations"], strict=True):
        assert tuple(dataset.coordinateTransformations[0].scale) == tuple(steps[0]["scale"]) == level.scale
        if method == "mean":
            assert tuple(dataset.coordinateTransformations[1].translation) == level.translation
            assert tuple(steps[1]["translation"]) == level.translation
        assert dataset.path == level.path


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_what_ome_zarr_writes_is_read(tmp_path, version):
    place = str(tmp_path / "img")
    units = {"z": "micrometer", "y": "micrometer", "x": "micrometer"}
    group = zarr.open_group(place, mode="w", zarr_format=2 if version == "0.4" else 3)
    image = VALUES.astype("u2")
    scale = {"t": 1.0, "c": 1.0, "z": 2.0, "y": 0.5, "x": 0.5}
    write_image(image, group, axes="tczyx", fmt=VERSIONS[version], scale=scale, axes_units=units, scale_factors=(2, 4))
    labels = (VALUES[:, :1] % 7).astype("u1")
    write_labels(
        labels,
        group,
        "cells",
        axes="tczyx",
        fmt=VERSIONS[version],
        scale_factors=(2, 4),
        method=Methods.NEAREST,
        label_metadata={"colors": [{"label-value": 1, "rgba": [255, 0, 0, 255]}]},
    )
    ours = open_multiscales(place)
    assert ours.version == version
    assert ours.axes[1:3] == (Axis("c", "channel"), Axis("z", "space", "micrometer"))
    assert ours.levels[0].scale == (1, 1, 2, 0.5, 0.5)
    arrays, metadata = read_by_ome_zarr(place)
    for level, array, steps in zip(ours.levels, arrays, metadata["coordinateTransformations"], strict=True):
        np.testing.assert_array_equal(level.array, array)
        assert level.scale == tuple(steps[0]["scale"])
        assert level.translation == tuple(steps[1]["translation"])
    np.testing.assert_array_equal(ours.levels[0].array, image)
    assert list_labels(place) == ("labels/cells",)
    found = open_multiscales(place, list_labels(place)[0])
    np.testing.assert_array_equal(found.levels[0].array, labels)
    assert found.attributes["image-label"]["colors"] == [{"label-value": 1, "rgba": [255, 0, 0, 255]}]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_labels_beside_an_image(tmp_path, version):
    place = tmp_path / "img"
    numbers = {"axes": "zyx", "levels": 3, "version": version}
    cells = (VALUES[0, 0] % 5).astype("u1")
    write_multiscales(da.from_array(VALUES[0, 0], chunks=16), place, **numbers)
    write_multiscales(
        da.from_array(cells, chunks=16),
        place,
        "labels/cells",
        method="mode",
        ome={"image-label": {"colors": [{"label-value": 1, "rgba": [255, 0, 0, 255]}], "source": {"image": "../../"}}},
        **numbers,
    )
    listed = {"labels": ["cells"]} if version == "0.4" else {"ome": {"version": "0.5", "labels": ["cells"]}}
    daskzarr.update_attributes(place, listed, "labels")
    nodes = {str(node.zarr).split("/")[-1]: node for node in Reader(parse_url(place))()}
    by_name = {node.metadata.get("name"): node for node in nodes.values() if node.data}
    np.testing.assert_array_equal(by_name["cells"].data[0], cells)
    labels = models.open_ome_zarr(zarr.open_group(str(place / "labels"), mode="r"))
    assert labels.ome_zarr_version == version
    found = models.open_ome_zarr(zarr.open_group(str(place / "labels/cells"), mode="r"))
    assert "Label" in type(found).__name__
    assert isinstance(found, ImageLabelV04) == (version == "0.4")
