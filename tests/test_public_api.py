"""The names people may use are these and no others."""

import inspect

import dask.array as da
import pytest

import daskzarr

NAMES = {
    "AlignmentError",
    "AppendError",
    "CodecError",
    "DaskZarrError",
    "MetadataError",
    "MissingChunkError",
    "NodeExistsError",
    "NodeNotFoundError",
    "PlanLimitError",
    "ResumeError",
    "StoreError",
    "StorePermissionError",
    "StoredArray",
    "StoredGroup",
    "UnknownCodecError",
    "UnsupportedError",
    "WriteFailedError",
    "append",
    "consolidate",
    "convert",
    "copy_node",
    "create_array",
    "create_group",
    "delete_node",
    "from_zarr",
    "install_dask",
    "open_array",
    "open_group",
    "open_store",
    "plan",
    "plan_rechunk",
    "rechunk",
    "register_codec",
    "repair",
    "resize",
    "store",
    "to_zarr",
    "uninstall_dask",
    "update_attributes",
    "verify",
}


def test_names():
    assert sorted(daskzarr.__all__) == sorted(NAMES)
    assert sorted(daskzarr._PLACES) == sorted(NAMES)


def test_every_name_is_there_and_documented():
    for name in NAMES:
        assert inspect.getdoc(getattr(daskzarr, name)), name
    assert not NAMES - set(dir(daskzarr))


def test_public_functions_have_an_example_each():
    for name in NAMES:
        value = getattr(daskzarr, name)
        if inspect.isfunction(value):
            assert ">>>" in value.__doc__, name
            assert "Returns" in value.__doc__, name


def test_positions_are_dasks_own():
    for ours, theirs in ((daskzarr.from_zarr, da.from_zarr), (daskzarr.to_zarr, da.to_zarr)):
        positional = [
            name for name, p in inspect.signature(ours).parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD
        ]
        expected = [
            name for name, p in inspect.signature(theirs).parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD
        ]
        assert positional == expected


def test_no_verb_swallows_options():
    for name in NAMES - {"plan", "plan_rechunk"}:
        value = getattr(daskzarr, name)
        if inspect.isfunction(value):
            kinds = {p.kind for p in inspect.signature(value).parameters.values()}
            assert inspect.Parameter.VAR_KEYWORD not in kinds, name


def test_plan_takes_what_to_zarr_takes_and_nothing_else():
    array = da.ones((4, 4), chunks=2)
    assert daskzarr.plan(array, {}, chunks=(1, 4), zarr_format=2, align="rechunk").objects == 4
    for options in ({"chunk": (2, 2)}, {"alignment": "merge"}, {"resumes": True}):
        with pytest.raises(TypeError, match=next(iter(options))):
            daskzarr.plan(array, {}, **options)
