"""What a client library raises -> an exception that tells what sort of failure it was, with no credentials in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from daskzarr.errors import DaskZarrError, StoreError, StorePermissionError
from daskzarr.stores.credentials import without_credentials
from daskzarr.stores.transient import is_transient

# By name, since none of these libraries has to be there.
_REFUSED = {
    "asyncssh.misc.PermissionDenied",
    "botocore.exceptions.NoCredentialsError",
    "botocore.exceptions.PartialCredentialsError",
    "google.auth.exceptions.DefaultCredentialsError",
    "google.auth.exceptions.RefreshError",
    "paramiko.ssh_exception.AuthenticationException",
}
_NO_KEYS = {"NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError"}
_LOGINS = {"s3": "key", "s3a": "key", "gs": "token", "gcs": "token", "abfs": "account_key", "az": "account_key"}
_NO_PLACE = {"NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted", "ContainerDisabled", "AccountIsDisabled"}


def names_no_key(error: BaseException) -> str | None:
    """What a server says is missing, where that is a bucket or container, and no key that is missing; else None."""
    return next((code for each in _causes(error) if (code := _code(each)) in _NO_PLACE), None)


def told(error: Exception, url: str) -> Exception:
    """The exception that is to be raised for one of a client library's.

    Refused access is a :class:`StorePermissionError`, a bucket that is missing a :class:`StoreError`. Others stay as
    they are, unless there is something in them that no message may show; then it is still told whether they may pass.

    Parameters
    ----------
    error
        What was raised.
    url
        The store.
    """
    if isinstance(error, DaskZarrError):
        return error.locate(url=url)
    if place := names_no_key(error):
        return StoreError(f"the store is not there: the server says {place}", url=url)
    names = {f"{cls.__module__}.{cls.__qualname__}" for cls in type(error).__mro__}
    status = _status(error)
    text = without_credentials(f"{type(error).__name__}: {error}".strip().removesuffix(":"))
    if isinstance(error, PermissionError) or status in (401, 403) or names & _REFUSED or _forbidden(error):
        hint = chain_hint(url) if type(error).__name__ in _NO_KEYS else _perhaps_missing(error)
        return StorePermissionError(f"access was refused: {text}{hint}", url=url)
    if not _shows_secrets(error):
        return error
    return ConnectionError(text) if is_transient(error) else StoreError(text, url=url)


def raise_told(error: Exception, url: str) -> NoReturn:
    """Raise what :func:`told` makes of an error, which is named as the cause if nothing in it has to stay secret."""
    new = told(error, url)
    if new is error:
        raise error
    raise new from (None if _shows_secrets(error) else error)


def raise_unopened(error: Exception, url: str, hint: str = "") -> NoReturn:
    """Raise an error of ours for what kept a file system from being opened, with a hint behind it.

    That a file is missing is not believed: file systems of the web say so of every failure.
    """
    new = told(error, url)
    if new is error and isinstance(error, DaskZarrError):
        raise error
    if not isinstance(new, StorePermissionError):
        text = without_credentials(f"{type(error).__name__}: {error}")
        missing = isinstance(error, FileNotFoundError)
        reason = "there is no such file, or it could not be fetched" if missing else text
        new = StoreError(f"the store cannot be opened: {reason}{hint}", url=url)
    raise new from (None if _shows_secrets(error) else error)


def chain_hint(url: str) -> str:
    """What to say of the options of a chain, where there seem to be none; nothing of a URL that is none.

    >>> chain_hint("simplecache::s3://bucket/a")
    '; the options of a chain go by protocol: {"s3": {"key": ...}}'
    >>> chain_hint("s3://bucket/a")
    ''
    """
    _, chained, last = url.rpartition("::")
    protocol, separator, _ = last.partition("://")
    if not chained or not separator:
        return ""
    option = _LOGINS.get(protocol)
    named = f'{{"{option}": ...}}' if option else "{...}"
    return f'; the options of a chain go by protocol: {{"{protocol}": {named}}}'


def _shows_secrets(error: BaseException) -> bool:
    """Whether there is something in the text of an error, or of what caused it, that no message may show."""
    return any(str(each) != without_credentials(str(each)) for each in _causes(error))


def _perhaps_missing(error: BaseException) -> str:
    """What S3 does not tell."""
    if not any(isinstance(getattr(each, "response", None), Mapping) for each in _causes(error)):
        return ""
    return "; S3 answers so for a missing key too, to who may not list the bucket (s3:ListBucket)"


def _forbidden(error: BaseException) -> bool:
    """gcsfs has no other way to say so."""
    return type(error) is OSError and str(error).startswith("Forbidden: ")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what caused it."""
    while error is not None:
        yield error
        error = error.__cause__


def _code(error: BaseException) -> str:
    """A server's own word for what went wrong."""
    answer = getattr(error, "response", None)
    said = answer.get("Error") if isinstance(answer, Mapping) else None
    code = said.get("Code") if isinstance(said, Mapping) else getattr(error, "error_code", "")
    return str(getattr(code, "value", code))


def _status(error: BaseException) -> int | None:
    """The status of HTTP that an error stands for."""
    number: Any
    answer = getattr(error, "response", None)
    about = answer.get("ResponseMetadata") if isinstance(answer, Mapping) else None
    if isinstance(about, Mapping):
        number = about.get("HTTPStatusCode")
    else:  # only the first that is there: a client library may warn of another name it had for it
        named = (getattr(error, name, None) for name in ("status", "status_code", "code"))
        number = next((each for each in named if each is not None), getattr(answer, "status_code", None))
    return int(number) if str(number).isdecimal() else None
