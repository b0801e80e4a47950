"""A file system -> the same one as this thread may use it, now."""

from __future__ import annotations

from typing import Any

from daskzarr.stores.remote.placing import sftp_channels
from daskzarr.stores.remote.placing.wrapped import kind


def own_of_thread(fs: Any) -> Any:
    """The file system for use in this thread; most are used as they are.

    paramiko's SFTP hangs if threads share it, so each has a channel of its own, which is closed when the thread ends,
    and opened again where it was lost. What is given is not to be kept for later, nor pickled.

    Parameters
    ----------
    fs
        A file system that was opened in this process, and stands on no other one.
    """
    return sftp_channels.of_thread(fs) if kind(fs) == "sftp" else fs
