"""A number of bytes -> text for people."""

from __future__ import annotations

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def format_size(nbytes: int) -> str:
    """Bytes for people.

    >>> format_size(1023), format_size(1536), format_size(5 * 2**30)
    ('1023 bytes', '1.5 KiB', '5.0 GiB')
    """
    power = min(max(nbytes.bit_length() - 1, 0) // 10, len(_UNITS) - 1)
    return f"{nbytes / 1024**power:,.1f} {_UNITS[power]}" if power else f"{nbytes} bytes"
