"""Run by a Python that has GDAL, its own binding or rasterio: JOB ANSWER, both JSON files. Writes and reads arrays."""

import json
import sys
import warnings

GDAL_TYPES = {"u1": "Byte", "u2": "UInt16", "i2": "Int16", "u4": "UInt32", "i4": "Int32", "u8": "UInt64", "i8": "Int64"}
GDAL_TYPES |= {"f4": "Float32", "f8": "Float64", "c8": "CFloat32", "c16": "CFloat64"}


def read(item):
    """The bytes of an array in native byte order, and what is told of it; by the multidimensional interface."""
    store = gdal.OpenEx(item["path"], gdal.OF_MULTIDIM_RASTER)
    root = store.GetRootGroup()
    array = root.OpenMDArrayFromFullname("/" + item["component"])
    kind = array.GetDataType()
    told = {
        "dimensions": [d.GetName() for d in array.GetDimensions()],
        "shape": [d.GetSize() for d in array.GetDimensions()],
    }
    told |= {"type": gdal.GetDataTypeName(kind.GetNumericDataType()), "class": kind.GetClass()}
    told["attributes"] = {a.GetName(): a.Read() for a in array.GetAttributes()}
    told["nodata"] = array.GetNoDataValueAsDouble()
    if kind.GetClass() == gdal.GEDTC_STRING:
        told["list"] = list(array.Read())
    else:
        with open(item["out"], "wb") as file:
            file.write(bytes(array.Read()))
    return told


def write(item):
    """An array from its bytes, in the root group of a new store."""
    with open(item["data"], "rb") as file:
        data = file.read()
    store = gdal.GetDriverByName("Zarr").CreateMultiDimensional(item["path"], [], item["store_options"])
    root = store.GetRootGroup()
    dimensions = [root.CreateDimension(f"d{i}", None, None, n) for i, n in enumerate(item["shape"])]
    kind = gdal.ExtendedDataType.Create(gdal.GetDataTypeByName(GDAL_TYPES[item["dtype"]]))
    array = root.CreateMDArray(item["component"], dimensions, kind, item["options"])
    if "fill" in item:
        array.SetNoDataValueDouble(item["fill"])
    array.Write(data)
    return {}


def read_raster(item):
    """The same by the raster interface, which has arrays of two axes."""
    with rasterio.open(f'ZARR:"{item["path"]}":/{item["component"]}') as raster:
        band = raster.read(1)
        with open(item["out"], "wb") as file:
            file.write(np.ascontiguousarray(band).tobytes())
        return {"type": raster.dtypes[0], "shape": list(band.shape), "nodata": str(raster.nodata)}


def write_raster(item):
    """A raster from its bytes."""
    height, width = item["shape"]
    data = np.fromfile(item["data"], item["dtype"]).reshape(height, width)
    how = {"width": width, "height": height, "count": 1, "dtype": data.dtype.name, "driver": "Zarr"}
    with rasterio.open(item["path"], "w", **how, **dict(option.split("=", 1) for option in item["options"])) as raster:
        raster.write(data, 1)
    return {}


def answer(item):
    try:
        return {"did": DO[item["do"]](item)}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    try:
        from osgeo import gdal

        gdal.UseExceptions()
        DO = {"read": read, "write": write, "version": lambda _: {"version": gdal.__version__}}
    except ImportError:
        import numpy as np
        import rasterio

        DO = {"read": read_raster, "write": write_raster}
        DO["version"] = lambda _: {"version": rasterio.__gdal_version__}
    with open(sys.argv[1]) as file:
        job = json.load(file)
    with open(sys.argv[2], "w") as file:
        json.dump([answer(item) for item in job], file, default=str)
