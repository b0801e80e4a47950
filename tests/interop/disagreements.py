"""Every disagreement between daskzarr and a peer that the tests of this folder found, and hold."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Disagreement:
    """What a release of a peer does otherwise."""

    peer: str
    release: str
    effect: str  # "refuses": an error; "wrong": other values, without an error
    what: str
    spec: str
    fault: str
    ours: str


ZARRITA = ("zarrita.js", "0.7.5")
GDAL = ("GDAL", "3.6.2, 3.10.3")
ZARR2 = ("zarr-python", "2.18.7")

DISAGREEMENTS = {
    "zarr2-objects-order-f": Disagreement(
        *ZARR2,
        "refuses",
        "json2 and msgpack2 chunks of order F with several axes: written as if of order C, read as if of order F, so that "
        "it reads other values than it wrote",
        "v2, order: filters take and give the cells in the order of the memory",
        "zarr-python 2: the two codecs put cells in order C; zarr-python 3 has neither",
        "refuses a chunk whose shape is not that of the transposed cells; what it writes, zarr-python 2 reads right",
    ),
    "zarr2-object-fill": Disagreement(
        *ZARR2,
        "wrong",
        "absent chunks of text (or bytes) of any length read as 0 or None where fill_value is 0 or null",
        "none; 0 is what zarr-python 2 writes when no fill value is chosen",
        "open: v2 does not say what these mean for objects",
        'reads "" (or b""), the values of the type',
    ),
    "zarrita-int64-fill": Disagreement(
        *ZARRITA,
        "wrong",
        "64-bit integer fill values beyond 2^53 read as other numbers (uint64 2^64 - 1 as 0)",
        "v3 core, fill values: an integer in the range of the type; JSON does not limit integers",
        "zarrita.js: the document goes through doubles",
        "reads and writes them exactly",
    ),
    "zarrita-null-fill": Disagreement(
        *ZARRITA,
        "refuses",
        "an array made without a fill value has fill_value null in its v3 document",
        "v3 core, fill_value: required, and null is none for the core types",
        "zarrita.js",
        "refuses such a document",
    ),
    "zarrita-bool-big": Disagreement(
        *ZARRITA,
        "wrong",
        'bool under a bytes codec that says "endian": "big" is stored with every four bytes reversed',
        "v3 core, bytes: endian means nothing for elements of one byte",
        "zarrita.js: takes a bool for four bytes",
        "ignores endian for one-byte types, and never writes it there",
    ),
    "zarrita-index-start": Disagreement(
        *ZARRITA,
        "refuses",
        "shards with the index at the start: takes other bytes for the index, and may end the process",
        "sharding_indexed: index_location is start or end",
        "zarrita.js: it does not look at index_location",
        "reads both; writes the index at the end, which all read",
    ),
    "zarrita-empty": Disagreement(
        *ZARRITA,
        "refuses",
        "an axis without cells",
        "v2 and v3: lengths from 0 on",
        "zarrita.js",
        "reads and writes it",
    ),
    "zarrita-types": Disagreement(
        *ZARRITA,
        "refuses",
        "float16 (node 20), complex numbers, and data types of v3 with a configuration",
        "v3 core and Zarr extensions, data types",
        "zarrita.js: not supported",
        "reads and writes them",
    ),
    "zarrita-codecs": Disagreement(
        *ZARRITA,
        "refuses",
        "bz2, v2's crc32c, fixedscaleoffset under its v3 name",
        "numcodecs",
        "none: not supported, and says so",
        "reads and writes them",
    ),
    "zarrita-bytes": Disagreement(
        *ZARRITA,
        "wrong",
        "bytes of fixed length (S) that are no UTF-8 read as text with replacement characters",
        "v2, data type encoding: S is bytes",
        "zarrita.js: bytes are decoded as UTF-8",
        "gives the bytes",
    ),
    "zarrita-json2": Disagreement(
        *ZARRITA,
        "wrong",
        "json2 chunks with several axes read as lists of rows",
        "numcodecs, JSON: the items are nested as the axes are, then the dtype and the shape",
        "zarrita.js: items are not flattened",
        "reads and writes them as numcodecs does",
    ),
    "gdal-lz4": Disagreement(
        "GDAL (in rasterio)",
        "3.10.3",
        "refuses",
        "v2's lz4, with this build",
        "numcodecs, LZ4",
        "none: not supported, and says so",
        "reads and writes it",
    ),
    "gdal-uint64-fill": Disagreement(
        *GDAL,
        "wrong",
        "a uint64 fill value of 2^64 - 1 reads as 2^63 - 1",
        "v2, fill value encoding: an integer; JSON does not limit integers",
        "GDAL: the document goes through signed integers",
        "reads and writes it exactly",
    ),
    "gdal-complex-fill": Disagreement(
        *GDAL,
        "refuses",
        "complex arrays whose fill value is [real, imaginary]",
        "v2 does not say how; zarr-python writes pairs",
        "open",
        "reads and writes pairs; fill_value=None writes what GDAL reads",
    ),
    "gdal-codecs": Disagreement(
        *GDAL,
        "refuses",
        "v2's crc32c and shuffle",
        "numcodecs",
        "none: not supported, and says so",
        "reads and writes them",
    ),
}


def table():
    """The rows of the document, in Markdown."""
