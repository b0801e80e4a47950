"""What documents say of images: read right, and refused by field where they are wrong."""

import copy
import json
import math

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import daskzarr
from daskzarr import DaskZarrError, MetadataError, NodeNotFoundError, UnsupportedError
from daskzarr.ome import Axis, list_labels, open_multiscales
from daskzarr.ome.axes import new_axes
from daskzarr.ome.documents import read_description, read_labels
from daskzarr.ome.transforms import Transform

ENTRY = {
    "name": "img",
    "axes": [
        {"name": "c", "type": "channel"},
        {"name": "y", "type": "space", "unit": "micrometer"},
        {"name": "x", "type": "space", "unit": "micrometer"},
    ],
    "datasets": [
        {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 0.5, 0.25]}]},
        {
            "path": "deep/1",
            "coordinateTransformations": [
                {"type": "scale", "scale": [1, 1.0, 0.5]},
                {"type": "translation", "translation": [0, 0.25, 0.125]},
            ],
        },
    ],
    "type": "gaussian",
    "metadata": {"version": "x"},
}
TOP = [{"type": "scale", "scale": [1, 10, 20]}, {"type": "translation", "translation": [0, 3, 4]}]
V5 = {"ome": {"version": "0.5", "multiscales": [ENTRY], "omero": {"channels": "anything"}}, "mine": 1}
V4 = {"multiscales": [{"version": "0.4", **ENTRY}], "omero": {"channels": "anything"}, "mine": 1}


def changed(document, value, *path):
    """A copy of a document with another value at a path; ... takes what is there away."""
    document = copy.deepcopy(document)
    part = document
    for step in path[:-1]:
        part = part[step]
    if value is ...:
        del part[path[-1]]
    else:
        part[path[-1]] = value
    return document


def stored(attributes, zarr_format=3, shapes=((2, 8, 12), (2, 4, 6)), names=("c", "y", "x")):
    """A store with such a group and the arrays of its levels."""
    store = {}
    daskzarr.create_group(store, attributes=attributes, zarr_format=zarr_format)
    for path, shape in zip(("0", "deep/1"), shapes, strict=True):
        values = da.arange(math.prod(shape), dtype="i4").reshape(shape)
        daskzarr.to_zarr(values, store, path, dimension_names=names, zarr_format=zarr_format)
    return store


@pytest.mark.parametrize(("attributes", "zarr_format", "version"), [(V5, 3, "0.5"), (V4, 2, "0.4"), (V4, 3, "0.4")])
def test_an_image_is_read(attributes, zarr_format, version):
    image = open_multiscales(stored(attributes, zarr_format))
    assert (image.name, image.version, image.type, image.metadata) == ("img", version, "gaussian", {"version": "x"})
    assert image.axes == (Axis("c", "channel"), Axis("y", "space", "micrometer"), Axis("x", "space", "micrometer"))
    assert [level.path for level in image.levels] == ["0", "deep/1"]
    assert [level.scale for level in image.levels] == [(1, 0.5, 0.25), (1, 1, 0.5)]
    assert [level.translation for level in image.levels] == [(0, 0, 0), (0, 0.25, 0.125)]
    assert image.omero == {"channels": "anything"}
    for level, shape in zip(image.levels, [(2, 8, 12), (2, 4, 6)], strict=True):
        np.testing.assert_array_equal(level.array, np.arange(math.prod(shape)).reshape(shape))


def test_transformations_of_all_levels_come_after_those_of_each():
    image = open_multiscales(stored(changed(V5, TOP, "ome", "multiscales", 0, "coordinateTransformations")))
    assert [level.scale for level in image.levels] == [(1, 5, 5), (1, 10, 10)]
    assert [level.translation for level in image.levels] == [(0, 3, 4), (0, 5.5, 6.5)]
    for nothing in ([], None):
        document = changed(V5, nothing, "ome", "multiscales", 0, "coordinateTransformations")
        assert open_multiscales(stored(document)).levels[0].scale == (1, 0.5, 0.25)


def test_one_of_several_images():
    second = changed(changed(ENTRY, "other", "name"), [ENTRY["datasets"][1]], "datasets")
    store = stored(changed(V5, [ENTRY, second], "ome", "multiscales"))
    assert [level.path for level in open_multiscales(store, index=1).levels] == ["deep/1"]
    assert open_multiscales(store, index="other") == open_multiscales(store, index=1)
    for index in (2, -1, "third", None, True, 1.0, ["other"]):
        with pytest.raises(MetadataError) as caught:
            open_multiscales(store, index=index)
        assert caught.value.field == "ome.multiscales"


def test_what_may_be_missing():
    bare = {key: ENTRY[key] for key in ("axes", "datasets")}
    image = open_multiscales(stored({"multiscales": [bare]}, 2))
    assert (image.name, image.version, image.type, image.metadata, image.omero) == (None, "0.4", None, None, None)


def test_chunks_are_those_asked_for():
    image = open_multiscales(stored(V5), chunks=(1, 3, 5))
    assert image.levels[1].array.chunks == ((1, 1), (3, 1), (5, 1))
    daskzarr.delete_node(store := stored(V5), "0")
    with pytest.raises(NodeNotFoundError) as caught:
        open_multiscales(store)
    assert caught.value.node == "0"


D, T = "datasets", "coordinateTransformations"
WRONG = [
    (("axes",), None),
    (("axes",), []),
    (("axes",), "cyx"),
    (("axes",), ...),
    (("axes", 1), "y"),
    (("axes", 1, "name"), ...),
    (("axes", 1, "name"), 3),
    (("axes", 1, "name"), ""),
    (("axes", 1, "name"), "c"),
    (("axes", 1, "type"), 3),
    (("axes", 1, "unit"), ["m"]),
    (("name",), 3),
    (("type",), {}),
    ((D,), None),
    ((D,), {}),
    ((D,), []),
    ((D, 0), "0"),
    ((D, 0, "path"), ...),
    ((D, 0, "path"), 0),
    ((D, 0, "path"), ""),
    ((D, 0, "path"), "/0"),
    ((D, 0, "path"), "0/"),
    ((D, 0, "path"), "."),
    ((D, 0, "path"), "./0"),
    ((D, 0, "path"), "../0"),
    ((D, 0, "path"), "a/../../0"),
    ((D, 0, "path"), "a//b"),
    ((D, 0, "path"), "..\\0"),
    ((D, 0, "path"), "a\0"),
    ((D, 1, T), ...),
    ((D, 1, T), []),
    ((D, 1, T), {}),
    ((D, 1, T), [{"type": "scale", "scale": [1, 1, 1]}] * 3),
    ((D, 1, T, 0), "scale"),
    ((D, 1, T, 0, "type"), "identity"),
    ((D, 1, T, 0, "type"), "translation"),
    ((D, 1, T, 0, "scale"), ...),
    ((D, 1, T, 0, "scale"), 2.0),
    ((D, 1, T, 0, "scale"), [1, 1]),
    ((D, 1, T, 0, "scale"), [1, 1, 1, 1]),
    ((D, 1, T, 0, "scale", 2), 0),
    ((D, 1, T, 0, "scale", 2), -0.0),
    ((D, 1, T, 0, "scale", 2), "1"),
    ((D, 1, T, 0, "scale", 2), None),
    ((D, 1, T, 0, "scale", 2), True),
    ((D, 1, T, 0, "scale", 2), 10**400),
    ((D, 1, T, 1, "type"), "scale"),
    ((D, 1, T, 1, "translation"), [0, 0]),
    ((D, 1, T, 1, "translation", 0), [0]),
    ((T,), {}),
    ((T,), [{"type": "translation", "translation": [0, 0, 0]}]),
    ((T,), [{"type": "scale", "scale": [1, 1, 5e-324]}, {"type": "translation", "translation": [0, 0, 0]}]),
]


@pytest.mark.parametrize(("path", "value"), WRONG, ids=map(repr, WRONG))
@pytest.mark.parametrize(("document", "lead"), [(V5, ("ome", "multiscales", 0)), (V4, ("multiscales", 0))])
def test_wrong_documents_are_refused_by_field(path, value, document, lead):
    with pytest.raises(MetadataError) as caught:
        read_description(changed(document, value, *lead, *path), 0)
    spelled = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in (*lead, *path))[1:]
    field = caught.value.field
    assert field.startswith(spelled) or spelled.startswith(field), (field, spelled)
    assert field in str(caught.value)


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none(token):
    text = json.dumps(V5).replace("0.125", token)
    store = stored(V5)
    document = json.loads(store["zarr.json"])
    document["attributes"] = json.loads(text)
    store["zarr.json"] = json.dumps(document).encode()
    with pytest.raises(MetadataError, match="finite") as caught:
        open_multiscales(store)
    assert caught.value.field == "ome.multiscales[0].datasets[1].coordinateTransformations[1].translation[2]"


def test_transformations_that_no_float_can_hold_together():
    one, other = Transform((2.0,), (3.0,)), Transform((1e308,), (1e308,))
    assert one.then(Transform((5.0,), (7.0,)), "there") == Transform((10.0,), (22.0,))
    with pytest.raises(MetadataError, match="inf") as caught:
        one.then(other, "there")
    assert caught.value.field == "there"


@pytest.mark.parametrize(
    ("attributes", "error", "said"),
    [
        ({}, MetadataError, "no image"),
        ({"ome": []}, MetadataError, "JSON object"),
        ({"ome": {"version": "0.5"}}, MetadataError, "no image"),
        ({"ome": {"version": 0.5, "multiscales": [ENTRY]}}, MetadataError, "text"),
        ({"ome": {"version": "0.6", "multiscales": [ENTRY]}}, UnsupportedError, "0.5"),
        ({"multiscales": [{**ENTRY, "version": "0.3"}]}, UnsupportedError, "0.4"),
        ({"multiscales": {"layout": []}}, MetadataError, "list"),
        ({"multiscales": []}, MetadataError, "0 multiscales"),
        ({"multiscales": ["a"]}, MetadataError, "JSON object"),
        ({"plate": {}}, MetadataError, "A/1/0"),
        ({"ome": {"version": "0.5", "well": {}}}, MetadataError, "a well"),
        ({"ome": {"version": "0.5", "labels": []}}, MetadataError, "label"),
        ({"bioformats2raw.layout": 3}, MetadataError, "'0'"),
    ],
)
def test_groups_that_are_no_such_image(attributes, error, said):
    daskzarr.create_group(store := {}, attributes=attributes)
    with pytest.raises(error, match=said) as caught:
        open_multiscales(store)
    assert caught.value.url is not None


def test_scales_that_are_stored_elsewhere():
    document = changed(V5, {"type": "scale", "path": "s"}, "ome", "multiscales", 0, D, 0, T, 0)
    with pytest.raises(UnsupportedError) as caught:
        read_description(document, 0)
    assert caught.value.field == "ome.multiscales[0].datasets[0].coordinateTransformations[0].path"


def test_levels_with_other_axes():
    with pytest.raises(MetadataError, match=r"level 'deep/1' the shape \(2, 4\)"):
        open_multiscales(stored(V5, shapes=((2, 8, 12), (2, 4)), names=None))
    with pytest.raises(MetadataError) as caught:
        open_multiscales(stored(V5, names=("c", "x", "y")))
    assert caught.value.field == "dimension_names"
    for names in (None, ("c", None, None)):
        open_multiscales(stored(V5, names=names))


def test_labels():
    store = stored(V5)
    assert list_labels(store) == ()
    daskzarr.create_group(store, "labels", attributes={"ome": {"version": "0.5", "labels": ["a", "b/c"]}})
    assert list_labels(store) == ("labels/a", "labels/b/c")
    daskzarr.update_attributes(store, {"ome": {"labels": []}}, "labels")
    assert list_labels(store) == ()
    assert read_labels({"labels": ["old"]}) == ("old",)
    assert read_labels({}) == ()
    for wrong in ({"labels": None}, {"labels": "a"}, {"labels": [1]}, {"labels": ["../a"]}, {"ome": 3}):
        with pytest.raises(MetadataError):
            read_labels(wrong)
    array = {}
    daskzarr.create_group(array)
    daskzarr.create_array(array, "labels", shape=3, chunks=3, dtype="i1")
    with pytest.raises(MetadataError, match="array"):
        list_labels(array)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
PLACES = [path for path, _ in WRONG]


@settings(max_examples=300)
@given(
    path=st.sampled_from(PLACES),
    value=JSON,
    document=st.sampled_from([(V5, ("ome", "multiscales", 0)), (V4, ("multiscales", 0))]),
)
def test_any_json_is_read_or_refused(path, value, document):
    whole, lead = document
    where = (*lead, *path) if path else lead
    try:
        found = read_description(changed(whole, value, *where), 0)
    except DaskZarrError:
        return
    for dataset in found.datasets:
        assert all(math.isfinite(s) and s != 0 for s in dataset.transform.scale)
        assert ".." not in dataset.path.split("/")


def test_new_axes():
    assert new_axes("tczyx", {"t": "second", "z": "micrometer"}, 5)[2] == Axis("z", "space", "micrometer")
    assert new_axes(["angle", {"name": "y"}, Axis("b", "space")], [None, "m", None], 3) == (
        Axis("angle"),
        Axis("y", "space", "m"),
        Axis("b", "space"),
    )


@pytest.mark.parametrize(
    ("axes", "units"),
    [
        ("yx", None),
        ("xyzw", None),
        (3, None),
        (None, None),
        (("c", "c", "x"), None),
        (("x", "y", "t"), None),
        (("z", "c", "x"), None),
        (("t", "c", "x"), None),
        (("c", "t", "x"), None),
        (("a", "b", "x"), None),
        (("c", "y", 3), None),
        (("c", "y", ""), None),
        (("c", "y", Axis(3)), None),
        (("c", "y", Axis("x", 3)), None),
        (("c", "y", {"type": "space"}), None),
        ("cyx", ["m"]),
        ("cyx", {"w": "m"}),
        ("cyx", {"y": 3}),
        ("cyx", "m"),
        ("cyx", 3),
    ],
)
def test_axes_that_cannot_be(axes, units):
    with pytest.raises(MetadataError) as caught:
        new_axes(axes, units, 3)
    assert caught.value.field.startswith(("axes", "units"))
