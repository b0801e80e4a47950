"""Errors carry where they happened, also through pickle."""

import inspect
import pickle

import pytest

from daskzarr import errors

CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, errors.DaskZarrError)]


@pytest.mark.parametrize("cls", CLASSES)
def test_survives_pickle(cls):
    error = cls("it broke", url="s3://b/a", node="x/y", chunk_key="c/1/2", codec="zstd", axis=3, field="codecs")
    error.add_note("a note")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is cls
    assert str(again) == str(error)
    assert vars(again) == vars(error)


@pytest.mark.parametrize("cls", CLASSES)
def test_text_names_every_place(cls):
    text = str(cls("it broke", url="s3://b/a", node="x/y", chunk_key="c/1/2", codec="zstd", axis=3, field="shape"))
    for part in ("it broke", "s3://b/a", "/x/y", "c/1/2", "zstd", "3", "shape"):
        assert part in text
    assert str(cls("it broke")) == "it broke"


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [
        (errors.NodeNotFoundError, FileNotFoundError),
        (errors.NodeExistsError, FileExistsError),
        (errors.MetadataError, ValueError),
        (errors.CodecError, ValueError),
        (errors.AlignmentError, ValueError),
        (errors.MissingChunkError, KeyError),
        (errors.StoreError, OSError),
        (errors.StorePermissionError, PermissionError),
        (errors.UnsupportedError, NotImplementedError),
    ],
)
def test_caught_as_the_builtin_of_its_kind(cls, builtin):
    with pytest.raises(builtin):
        raise cls("it broke")


def test_locate_keeps_what_is_known():
    error = errors.CodecError("it broke", codec="zstd", chunk_key="c/0")
    error.locate(chunk_key="c/9", url="memory://a")
    assert (error.chunk_key, error.url) == ("c/0", "memory://a")
