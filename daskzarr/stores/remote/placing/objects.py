"""Object stores (S3, GCS, Azure): an object is there when its last byte is; how one is put only where there is none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def put(fs: Any, path: str, value: bytes) -> None:
    """One upload; of a big value in parts, which are an object when the last request says so. No bucket is made."""
    fs.pipe_file(path, value)


def put_new(fs: Any, path: str, value: bytes) -> bool:
    """One upload on the condition that there is no such object, which the server decides."""
    try:
        fs.pipe_file(path, value, mode="create")
    except FileExistsError:
        return False
    except Exception as error:
        if not _condition_failed(error):
            raise
        return False
    return True


def _condition_failed(error: BaseException) -> bool:
    """Whether a server said that there is such an object: status 412, be it in the error or in what caused it."""
    return any(_is_412(cause) for cause in _causes(error))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what caused it."""
    while error is not None:
        yield error
        error = error.__cause__


def _is_412(error: BaseException) -> bool:
    """Whether an error is a client's for an answer of that status."""
    answer = getattr(error, "response", None)
    if isinstance(answer, Mapping):
        about = answer.get("ResponseMetadata")
        return isinstance(about, Mapping) and about.get("HTTPStatusCode") == 412
    named = (getattr(error, name, None) for name in ("status", "status_code", "code"))
    return next((number for number in named if number is not None), None) in (412, "412")
