"""The example of an archive that grows by appends runs, and says what it refuses."""

import runpy
import warnings
from pathlib import Path

import daskzarr

EXAMPLE = Path(__file__).parents[2] / "examples" / "archive_of_datasets.py"


def test_archive_of_datasets(tmp_path, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries that read netCDF
        runpy.run_path(str(EXAMPLE))["main"](tmp_path)
    said = capsys.readouterr().out
    assert "60 of 60 labels of 'time' are stored already" in said
    assert "coordinate 'latitude' has other values" in said
    assert daskzarr.open_array(tmp_path / "archive.zarr", "air_temperature").shape == (240, 37, 49)
    assert daskzarr.verify(tmp_path / "archive.zarr", level="decode").ok
