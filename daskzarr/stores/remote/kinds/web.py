"""HTTP and HTTPS: parts with one request, what the answer's status and headers say of it, nothing taken on trust."""

from __future__ import annotations

from typing import Any, NoReturn

from daskzarr.byte_range import ByteRange
from daskzarr.errors import StoreError, StorePermissionError
from daskzarr.stores.credentials import without_credentials
from daskzarr.stores.remote.kinds.answer import Answer, Entry, content_range, first_asked, range_header

_SENT = (200, 203, 206)
_MISSING = (404, 410)
_REFUSED = (401, 403, 407)


async def ask(fs: Any, path: str, wanted: ByteRange | None) -> Answer:
    """The value, or at least the part that is wanted. FileNotFoundError only where the server says 404 or 410.

    Parameters
    ----------
    fs
        fsspec's HTTPFileSystem.
    path
        The URL, with percent codes.
    wanted
        The part; None for all.
    """
    session = await fs.set_session()
    url, options = fs.encode_url(path), dict(fs.kwargs)
    headers = {"Accept-Encoding": "identity", **(options.pop("headers", None) or {})}
    if wanted is not None:
        headers["Range"] = range_header(wanted)
    async with session.get(url, headers=headers, **options) as reply:
        status = reply.status
        if status in _SENT and reply.history and _is_folder(url, reply.url):
            raise FileNotFoundError(without_credentials(path))
        if status == 206:
            answer = await _partial(reply)
        elif status == 416 and wanted is not None:
            answer = _unsatisfied(reply, wanted)
        elif status in _SENT:
            body = await reply.read()
            return Answer(body, 0, len(body), reply.headers.get("ETag"))
        else:
            _raise_answer(path, reply)
    # A part of something that was compressed on its way is no part of the value.
    return await ask(fs, path, None) if answer is None else answer


async def _partial(reply: Any) -> Answer | None:
    """Bytes that the server says are such and such a part; None if they are one of another representation."""
    if reply.headers.get("Content-Encoding", "identity") not in ("identity", ""):
        return None
    first, last, size = content_range(reply.headers.get("Content-Range"))
    body = await reply.read()
    if first is None or last is None:
        raise StoreError("the server sent a part without saying which")
    if len(body) != last - first + 1:
        raise ConnectionError(f"the answer broke off: {len(body)} bytes came where {last - first + 1} had to")
    return Answer(body, first, size, reply.headers.get("ETag"))


def _unsatisfied(reply: Any, wanted: ByteRange) -> Answer | None:
    """No bytes: the value ends before the part begins; None where that cannot be, and all has to be looked at."""
    size = content_range(reply.headers.get("Content-Range"))[2]
    if wanted.offset < 0:  # only an empty value has no last bytes; not every server knows
        return Answer(b"", 0, 0, reply.headers.get("ETag")) if size == 0 else None
    begins = first_asked(wanted)
    size = begins if size is None else size
    return Answer(b"", 0, size, reply.headers.get("ETag")) if size <= begins else None


def _is_folder(asked: Any, found: Any) -> bool:
    """Whether the server sent on from a name to that name with a slash: what it then shows is a listing."""
    same = asked.host == found.host and asked.raw_path + "/" == found.raw_path
    return bool(same)


class Refusal(Exception):
    """What a server answered instead of the value: its status, and the headers that say when to ask again."""

    def __init__(self, status: int, headers: dict[str, str]) -> None:
        super().__init__(status, headers)
        self.status = status
        self.headers = headers


def _raise_answer(path: str, reply: Any) -> NoReturn:
    """Raise the error that an answer is, without what may be secret in it."""
    status = reply.status
    if status in _MISSING:
        raise FileNotFoundError(without_credentials(path))
    kind = StorePermissionError if status in _REFUSED else StoreError
    headers = {"Retry-After": reply.headers["Retry-After"]} if "Retry-After" in reply.headers else {}
    raise kind(f"the server answered {status} {reply.reason or ''}".rstrip()) from Refusal(status, headers)


async def children(fs: Any, folder: str) -> list[Entry]:
    """What the server's page for a folder has links to."""
    fs.dircache.clear()
    top, mark, query = folder.partition("?")
    lead = top.rstrip("/") + "/"
    entries = {}
    for each in await fs._ls(lead + mark + query, detail=True):
        place = each["name"].partition("?")[0].partition("#")[0]
        name = place[len(lead) :]
        if place.startswith(lead) and name.strip("/") and "/" not in name.strip("/"):
            entries[lead + name.strip("/")] = Entry(lead + name.strip("/"), None, name.endswith("/"))
    return list(entries.values())
