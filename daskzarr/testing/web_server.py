"""A web server on this machine whose files are a mapping: HTTP without a network, with its failures at will."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit


class WebServer:
    """Serves values over HTTP on a free port of the loopback address, from ``with`` on.

    Parameters
    ----------
    values
        Path below the server's top, as in a store's keys -> what lies there. May change while the server runs.
    status
        Pattern of paths (as of :mod:`fnmatch`) -> the status to answer with instead.
    ranges
        Whether a part of a value can be asked for. RFC 9110 lets a server ignore that, and send the whole.

    Examples
    --------
    >>> from urllib.request import urlopen
    >>> with WebServer({"a/b": b"123"}) as server:
    ...     print(urlopen(server.url + "/a/b").read(), server.requests)
    b'123' ['a/b']
    """

    def __init__(
        self, values: Mapping[str, bytes], status: Mapping[str, int] | None = None, *, ranges: bool = True
    ) -> None:
        self.values = values
        self.status = dict(status or {})
        self.ranges = ranges
        self.requests: list[str] = []
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Its top, without a slash at the end."""
        assert self._server is not None, "the server runs inside 'with' only"
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"web": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        assert self._thread is not None
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, path: str, wanted: str | None) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers for a path and the ``Range`` asked for."""
        self.requests.append(path)
        for pattern, status in self.status.items():
            if fnmatchcase(path, pattern):
                return status, b"as asked for", {}
        value = self.values.get(path)
        if value is None:
            return 404, b"not here", {}
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted or "")
        if not self.ranges or match is None or match.groups() == ("", ""):
            return 200, value, {"Accept-Ranges": "bytes" if self.ranges else "none"}
        size = len(value)
        first, last = match.groups()
        start = int(first) if first else max(size - int(last), 0)
        stop = min(int(last) + 1, size) if first and last else size
        if start >= size or stop <= start:
            return 416, b"", {"Content-Range": f"bytes */{size}"}
        return 206, value[start:stop], {"Content-Range": f"bytes {start}-{stop - 1}/{size}"}


class _Server(ThreadingHTTPServer):
    """A thread a connection."""

    request_queue_size = 256  # many connections come at once; one turned away waits a second

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that goes away in the middle is no news."""


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD."""

    web: WebServer
    protocol_version = "HTTP/1.1"  # connections stay open
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Status, headers and body."""
        self._reply(body=True)

    def do_HEAD(self) -> None:
        """Status and headers."""
        self._reply(body=False)

    def _reply(self, *, body: bool) -> None:
        """Ask the server object, and send."""
        path = unquote(urlsplit(self.path).path).lstrip("/")
        status, value, headers = self.web.answer(path, self.headers.get("Range"))
        self.send_response(status)
        self.send_header("Content-Length", str(len(value)))
        for name, text in headers.items():
            self.send_header(name, text)
        self.end_headers()
        if body:
            self.wfile.write(value)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
