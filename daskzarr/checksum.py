"""Bytes -> their CRC-32C, without a copy of them."""

from __future__ import annotations

from typing import Any

import google_crc32c
import numpy as np


def crc32c(data: Any) -> int:
    """The checksum of anything that holds bytes in one piece.

    >>> crc32c(b"123456789") == crc32c(memoryview(bytearray(b"123456789"))) == 0xE3069283
    True
    """
    found: int = google_crc32c.value(np.frombuffer(data, np.uint8) if len(data) else b"")
    return found
