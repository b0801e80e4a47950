"""S3 by s3fs: one request a read, objects listed as they are now, deletions whose failures are looked at."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from importlib import import_module
from typing import Any

from daskzarr.byte_range import ByteRange
from daskzarr.errors import StoreError, UnsupportedError
from daskzarr.stores.remote.kinds.answer import Answer, Entry, content_range, first_asked, range_header

_AT_ONCE = 4
_VERSION = "?versionId="


async def ask(fs: Any, path: str, wanted: ByteRange | None) -> Answer:
    """The object, or the part that is wanted. s3fs' own way asks for the size first, or takes it from old listings."""
    bucket, key, version = fs.split_path(path)
    options = {} if wanted is None else {"Range": range_header(wanted)}
    if version:
        options["VersionId"] = version
    elif _VERSION in path:
        raise UnsupportedError(f"s3fs takes {path!r} for a version of another object")
    try:
        reply = await fs._call_s3("get_object", Bucket=bucket, Key=key, **options)
    except OSError as error:
        size = None if wanted is None else _size_of_unsatisfied(error, wanted)
        if size is None:
            raise
        return Answer(b"", 0, size)
    async with reply["Body"] as stream:
        body = await stream.read()
    first, _, size = content_range(reply.get("ContentRange"))
    if first is None:
        return Answer(body, 0, len(body), reply.get("ETag"))
    return Answer(body, first, size, reply.get("ETag"))


def _size_of_unsatisfied(error: OSError, wanted: ByteRange) -> int | None:
    """Size of an object that ends before the part begins; None for any other error."""
    said = _said(error)
    if str(said.get("Code")) not in ("InvalidRange", "416"):
        return None
    told = said.get("ActualObjectSize")
    if told is not None and str(told).isdecimal():
        return int(told)
    return 0 if wanted.offset < 0 else first_asked(wanted)


def _said(error: BaseException) -> Mapping[str, Any]:
    """What the server said of an error."""
    response = getattr(error.__cause__, "response", None)
    said = response.get("Error") if isinstance(response, Mapping) else None
    return said if isinstance(said, Mapping) else {}


async def children(fs: Any, folder: str) -> list[Entry]:
    """Objects and prefixes directly below, by as many requests as there are thousands of them."""
    return [entry async for page in _pages(fs, folder, "/") for entry in page]


def below(fs: Any, folder: str) -> AsyncIterator[list[Entry]]:
    """All objects below, a thousand at a time."""
    return _pages(fs, folder, "")


async def _pages(fs: Any, folder: str, delimiter: str) -> AsyncIterator[list[Entry]]:
    """What the server lists, never what s3fs remembers of it."""
    bucket, key, _ = fs.split_path(folder)
    if not bucket:
        raise StoreError("the buckets of a server are no keys: a store has to be in one of them")
    lead = key.strip("/") + "/" if key.strip("/") else ""
    options = {"Bucket": bucket, "Prefix": lead, "Delimiter": delimiter}
    while True:
        page = await fs._call_s3("list_objects_v2", **options)
        found = [(f"{bucket}/{each['Key']}", each["Size"]) for each in page.get("Contents", ())]
        entries = [Entry(path, size, path.endswith("/")) for path, size in found]  # some tools mark folders so
        entries += [Entry(f"{bucket}/{each['Prefix']}", None, True) for each in page.get("CommonPrefixes", ())]
        yield entries
        if not page.get("IsTruncated"):
            return
        options["ContinuationToken"] = page["NextContinuationToken"]


async def clear(fs: Any, folder: str) -> None:
    """Delete all objects below, a thousand with a request. s3fs' own way passes over those that could not be."""
    deleting: set[asyncio.Task[None]] = set()
    try:
        async for page in below(fs, folder):
            if page:
                deleting.add(asyncio.ensure_future(_delete(fs, [entry.path for entry in page])))
            if len(deleting) >= _AT_ONCE:
                done, deleting = await asyncio.wait(deleting, return_when=asyncio.FIRST_COMPLETED)
                for each in done:
                    each.result()
        await asyncio.gather(*deleting)
    finally:
        for each in deleting:
            each.cancel()


async def _delete(fs: Any, paths: Sequence[str]) -> None:
    """Delete up to a thousand objects of one bucket."""
    bucket = fs.split_path(paths[0])[0]
    keys = [{"Key": path[len(bucket) + 1 :]} for path in paths]
    reply = await fs._call_s3("delete_objects", Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
    failed = reply.get("Errors")
    if failed:
        first = failed[0]
        raise StoreError(
            f"{len(failed)} of {len(keys)} objects could not be deleted, the first for {first.get('Code')}: "
            f"{first.get('Message')}"
        ) from import_module("botocore.exceptions").ClientError({"Error": first}, "DeleteObjects")
