"""What went wrong, where, and what to do: the exceptions daskzarr raises; each survives pickling."""

from __future__ import annotations

import pickle
from typing import Any, NoReturn

_QUOTED = 120


class DaskZarrError(Exception):
    """Root of every error daskzarr raises on purpose.

    Parameters
    ----------
    message
        What happened and what to do about it.
    url
        The store, without credentials.
    node
        Path of the array or group inside the store.
    chunk_key
        Key of the stored object, relative to the node.
    codec, axis, field
        The codec, axis or document field at fault, where there is one.

    Notes
    -----
    Only what is known is printed. The values stay readable as attributes, also after the error crossed
    from a worker to the client.

    Examples
    --------
    >>> str(DaskZarrError("wrong length", url="memory://x", chunk_key="c/0"))
    "wrong length (store 'memory://x', chunk 'c/0')"
    """

    def __init__(
        self,
        message: str,
        *,
        url: str | None = None,
        node: str | None = None,
        chunk_key: str | None = None,
        codec: str | None = None,
        axis: int | None = None,
        field: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.url = url
        self.node = node
        self.chunk_key = chunk_key
        self.codec = codec
        self.axis = axis
        self.field = field

    def __str__(self) -> str:
        places = {
            "store": self.url,
            "node": None if self.node is None else "/" + self.node,
            "chunk": self.chunk_key,
            "codec": self.codec,
            "axis": self.axis,
            "field": self.field,
        }
        known = ", ".join(f"{word} {value!r}" for word, value in places.items() if value is not None)
        return f"{self.message} ({known})" if known else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message), self.__dict__

    def locate(self, **places: Any) -> DaskZarrError:
        """Fill in places that were not known where the error was raised; known ones stay."""
        for word, value in places.items():
            if getattr(self, word) is None:
                setattr(self, word, value)
        return self


def short(value: Any) -> str:
    """A value as an error quotes it: its beginning, if it is long.

    >>> short("x" * 1000)[:12], len(short("x" * 1000))
    ("'xxxxxxxxxxx", 120)
    """
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested without end, or a number of very many digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= _QUOTED else text[: _QUOTED - 3] + "..."


def _rebuild(cls: type[DaskZarrError], message: str) -> DaskZarrError:
    """Make the error again; its fields follow as pickled state."""
    return cls(message)


def raise_from(error: Exception, caught: Exception) -> NoReturn:
    """Raise an error in the place of one that was caught, which may be itself.

    What was caught is named as the cause, unless it cannot be pickled: then it would keep the error on its worker.
    """
    cause = error.__cause__ if error is caught else caught
    try:
        pickle.dumps(cause)
    except Exception:
        cause = None
    try:
        raise error from cause
    finally:
        error.__context__ = None


class NodeNotFoundError(DaskZarrError, FileNotFoundError):
    """There is no array or group where one was asked for."""


class NodeExistsError(DaskZarrError, FileExistsError):
    """There is a node already where a new one was to be made."""


class MetadataError(DaskZarrError, ValueError):
    """A metadata document, or a setting that would go into one, breaks the format's rules."""


class UnknownCodecError(MetadataError):
    """No codec of this name is known, or a known one has a configuration that means nothing here."""


class CodecError(DaskZarrError, ValueError):
    """Stored bytes do not decode to the chunk they should be, or a chunk cannot be encoded."""


class MissingChunkError(DaskZarrError, KeyError):
    """A chunk is absent and the caller asked for ``missing="error"``."""

    __str__ = DaskZarrError.__str__  # KeyError would print the repr


class StoreError(DaskZarrError, OSError):
    """A store failed for another reason than an absent key."""


class StorePermissionError(StoreError, PermissionError):
    """A store refused access."""


class AlignmentError(DaskZarrError, ValueError):
    """Dask blocks do not own whole stored chunks, so two tasks would write one stored object."""


class ResumeError(DaskZarrError, ValueError):
    """A write cannot be taken up again: there is nothing to take up, or it was one of other cells or settings."""


class AppendError(DaskZarrError, ValueError):
    """An array does not have the length an append was told to find, or holds another unfinished one."""


class LossError(DaskZarrError, ValueError):
    """Cells would not be read again as what they are: the array's data type, units or packing cannot say them."""


class PlanLimitError(DaskZarrError, ValueError):
    """A write would take more files or memory than it may."""


class WriteFailedError(DaskZarrError, OSError):
    """Some objects could not be written, while the rest was; ``failures`` holds pairs of chunk key and reason."""

    failures: tuple[tuple[str, str], ...] = ()


class UnsupportedError(DaskZarrError, NotImplementedError):
    """A valid request that daskzarr cannot serve."""
