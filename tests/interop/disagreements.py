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
TENSORSTORE = ("tensorstore", "0.1.86")
NETCDF = ("netCDF-C (in netCDF4)", "4.10.1")
ZARR3 = ("zarr-python", "3.1.6")
ZARRS = ("zarrs (in zarr-python)", "0.2.3")
ZARR2 = ("zarr-python", "2.18.7")

DISAGREEMENTS = {
    "zarr2-objects-order-f": Disagreement(
        *ZARR2,
        "refuses",
        "json2 and msgpack2 chunks of order F with several axes: written as of order C, read as of order F, so that it "
        "reads other values than it wrote",
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
    "tensorstore-n5-nthreads": Disagreement(
        *TENSORSTORE,
        "refuses",
        "N5's blosc with the member nthreads, which the Java code and z5py write",
        "N5 file-system specification, blosc: nthreads is a parameter",
        "tensorstore",
        "reads with and without; writes it, as the Java code does",
    ),
    "tensorstore-n5-lz4": Disagreement(
        *TENSORSTORE,
        "refuses",
        "N5's lz4",
        "N5 file-system specification: lz4 frames of the Java code",
        "none: not supported, and says so",
        "reads and writes it",
    ),
    "tensorstore-n5-units": Disagreement(
        *TENSORSTORE,
        "refuses",
        "an N5 dataset with a text under the attribute units",
        "N5 file-system specification: attributes are the user's",
        "tensorstore: units has to be a list, one for each axis",
        "reads and writes any; lists under units are kept in N5's order",
    ),
    "z5py-lz4": Disagreement(
        "z5py",
        "3.0.2",
        "refuses",
        "N5's lz4: reads and writes bare LZ4 blocks",
        "N5 file-system specification: lz4 frames of the Java code",
        "z5py",
        "writes the Java code's frames, and reads frames, bare blocks and those of numcodecs",
    ),
    "zarr2-n5-lz4": Disagreement(
        *ZARR2,
        "refuses",
        "N5's lz4: reads and writes the blocks of numcodecs",
        "N5 file-system specification: lz4 frames of the Java code",
        "zarr-python 2",
        "writes the Java code's frames, and reads frames, bare blocks and those of numcodecs",
    ),
    "netcdf-order-f": Disagreement(
        *NETCDF,
        "wrong",
        "order F is taken for order C",
        "v2, order: F is the order of the cells in a chunk",
        "netCDF-C, as its documentation says",
        "reads and writes both; writes C unless asked for F",
    ),
    "netcdf-escapes": Disagreement(
        *NETCDF,
        "wrong",
        r"text beyond ASCII that is escaped in the JSON (\u00e9) reads as u00e9",
        "JSON (RFC 8259): such escapes are part of it",
        "netCDF-C",
        "reads both spellings; writes none",
    ),
    "netcdf-gzip": Disagreement(
        *NETCDF,
        "refuses",
        "v2's gzip",
        "numcodecs",
        "none: not supported, and says so",
        "reads and writes it",
    ),
    "netcdf-types": Disagreement(
        *NETCDF,
        "refuses",
        "bool, float16, complex numbers, U and dates",
        "v2, data type encoding",
        "none: netCDF has no such types",
        "reads and writes them",
    ),
    "netcdf-shuffle-0": Disagreement(
        "zarr-python",
        "3.1.6",
        "wrong",
        "v2's shuffle with elementsize 0, as netCDF-C 4.10.1 writes it for all it shuffles, reads as other numbers",
        "numcodecs, Shuffle: the number of bytes of an element; 0 is none",
        "netCDF-C writes what is none; zarr-python (so xarray and dask) does not notice",
        "takes 0 for the bytes of an element, as netCDF-C does",
    ),
    "zarr-python-struct": Disagreement(
        *ZARR3,
        "refuses",
        "the data type struct",
        "Zarr extensions, struct: registered; structured is its legacy name",
        "zarr-python: since 3.4 it has it",
        'reads both; writes struct, and structured for dtype={"name": "structured", ...}',
    ),
    "numcodecs-bitround-f": Disagreement(
        "zarr-python",
        "3.1.6",
        "wrong",
        "v2's bitround with order F: written in order C, read in order F, so that it reads other values than it wrote; "
        "2.18 too",
        "v2, order: filters take and give the cells in the order of the memory",
        "numcodecs, BitRound",
        "reads what zarr-python reads; what it writes, zarr-python reads right",
    ),
    "zarrs-nan-fill": Disagreement(
        *ZARRS,
        "wrong",
        "a NaN fill value with a payload reads as the usual NaN",
        "v3 core, fill value: hexadecimal bits are the value's very bits",
        "zarrs in Python: it goes through zarr-python's number",
        "keeps all bits",
    ),
    "zarrs-complex-big": Disagreement(
        *ZARRS,
        "wrong",
        "complex numbers under big-endian bytes: where a chunk is read in part, real and imaginary part change places",
        "v3 core, complex: the real part, then the imaginary one, each in the byte order",
        "zarrs: it reverses all bytes of the pair",
        "reads and writes each part in the byte order",
    ),
    "zarrs-v2": Disagreement(
        *ZARRS,
        "refuses",
        "v2 arrays that are big-endian or of order F",
        "v2, data type encoding and order",
        "none: not supported, and says so",
        "reads and writes them",
    ),
    "tensorstore-types": Disagreement(
        *TENSORSTORE,
        "refuses",
        "float8_e4m3, float6_*, uint2 and uint4",
        "Zarr extensions, data types: registered",
        "none: not supported, and says so",
        "reads and writes them",
    ),
    "tensorstore-float4-fill": Disagreement(
        *TENSORSTORE,
        "refuses",
        "v2 arrays of float4_e2m1fn with a number for a fill value: it wants base64, and numbers for all other types",
        "none: the types are tensorstore's extension of v2",
        "tensorstore",
        "writes a number; fill_value=None writes what tensorstore reads",
    ),
    "tensorstore-bytes": Disagreement(
        *TENSORSTORE,
        "wrong",
        "bytes of fixed length (S, V, r*) are shown as single bytes, with one more axis (and with NumPy 2.4 as "
        "elements of no bytes)",
        "v2, data type encoding: an element is all of its bytes",
        "none: a way to show them",
        "shows elements of that length",
    ),
    "tensorstore-raw-fill": Disagreement(
        *TENSORSTORE,
        "refuses",
        "r24 and its kind with a fill value that is a list of numbers",
        "v3 core, fill value of raw data types: an array of integers",
        "tensorstore: wants base64",
        "reads both; writes the list",
    ),
    "tensorstore-names": Disagreement(
        *TENSORSTORE,
        "refuses",
        "two dimensions of one name",
        "v3 core, dimension_names: names need not be unique",
        "tensorstore",
        "reads and writes them",
    ),
    "zarr-python-types": Disagreement(
        *ZARR3,
        "refuses",
        "r24 and its kind (it has raw_bytes), and the small floats and integers",
        "v3 core and Zarr extensions, data types",
        "none: not supported, and says so",
        'reads and writes them; dtype={"name": "raw_bytes", ...} writes opaque bytes as zarr-python reads them',
    ),
    "zarr-python-bare-names": Disagreement(
        *ZARR3,
        "refuses",
        'codecs given by their name alone, such as "crc32c"',
        "v3 core, extension definition: a name alone is allowed where there is no configuration",
        "zarr-python",
        "reads names and objects; writes objects",
    ),
    "tensorstore-bare-names": Disagreement(
        *TENSORSTORE,
        "refuses",
        'codecs given by their name alone, such as "crc32c"',
        "v3 core, extension definition: a name alone is allowed where there is no configuration",
        "tensorstore",
        "reads names and objects; writes objects",
    ),
    "zarr-python-nan-attributes": Disagreement(
        *ZARR3,
        "refuses",
        "NaN in attributes is written as a bare NaN, which no JSON parser but Python's takes",
        "JSON (RFC 8259): there is no such token",
        "zarr-python",
        "reads such documents; refuses such attributes",
    ),
    "zarr-python-nan-chunks": Disagreement(
        *ZARR3,
        "wrong",
        "chunks of NaNs whose payload is not the fill value's are left out, so that the payloads are lost",
        "v3 core: a chunk that is absent is one of fill values, the bits of which are fixed",
        "zarr-python",
        "leaves out only chunks that have the fill value's very bits",
    ),
    "zarr-python-mixed-order": Disagreement(
        *ZARR3,
        "wrong",
        "big-endian fields of a v3 structure are stored so while the document says little: other numbers come back",
        "Zarr extensions, struct: all fields are in the byte order of the bytes codec",
        "zarr-python: mended in 3.4",
        "stores all fields in the byte order that the document says",
    ),
    "zarr-python-transpose-shards": Disagreement(
        *ZARR3,
        "refuses",
        "transpose before sharding_indexed, where the inner chunks divide the transposed shape only",
        "sharding_indexed: the inner chunks divide what the codec is given, which is transposed",
        "zarr-python",
        "reads and writes them, as tensorstore does",
    ),
    "zarr-python-generic-dates": Disagreement(
        *ZARR3,
        "refuses",
        "numpy.datetime64 of the unit generic with not-a-time as an integer",
        'Zarr extensions, numpy.datetime64: an integer, or "NaT"',
        "zarr-python",
        "reads both; writes the integer, which zarr-python reads for all other units",
    ),
    "zarr-python-bytes-fill": Disagreement(
        *ZARR3,
        "refuses",
        "the fill value of bytes as a list of numbers",
        "Zarr extensions, bytes: a list of integers, or base64",
        "zarr-python",
        "reads both; writes base64",
    ),
}


def table():
    """The rows of the document, in Markdown."""
    rows = ["| Who | What | The specification | Whose fault | daskzarr |", "|---|---|---|---|---|"]
    for entry in sorted(DISAGREEMENTS.values(), key=lambda entry: (entry.peer, entry.what)):
        verb = {"refuses": "Refuses", "wrong": "**Other values**"}[entry.effect]
        cells = (f"{entry.peer} {entry.release}", f"{verb}: {entry.what}", entry.spec, entry.fault, entry.ours)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"
