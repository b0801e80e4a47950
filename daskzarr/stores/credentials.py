"""A URL, or text with URLs in it -> the same without what gives access: users, passwords, queries."""

from __future__ import annotations

import re

_LOGIN = re.compile(r"(https?|s?ftp|ssh|webhdfs|git|github|smb|dav)://[^/?#\s'\"]*@", re.IGNORECASE)
_QUERY = re.compile(r"((?:https?|s?ftp|webhdfs)://[^?\s'\"]*)\?[^\s'\")]*", re.IGNORECASE)


def without_credentials(text: str) -> str:
    """Cut logins and queries out of every URL of a protocol that has them.

    >>> without_credentials("simplecache::http://me:secret@host/a?token=1")
    'simplecache::http://host/a'
    """
    return _QUERY.sub(r"\1", _LOGIN.sub(r"\1://", text))
