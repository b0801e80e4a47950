"""Imports go strictly down the layers, and only the graph layer touches Dask."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import daskzarr

ROOT = Path(daskzarr.__file__).parent
ROWS = [
    {
        "errors",
        "warning",
        "synonyms",
        "checksum",
        "byte_range",
        "chunk_grid",
        "rectilinear_grid",
        "block_grid",
        "chunk_key",
        "alignment",
    }
    | {"alignment", "segments", "ownership", "receipt", "receipt_text", "size_text"},
    {"stores", "metadata", "rechunk_plan"},
    {"hierarchy", "codecs"},
    {"array_handle", "shard_io", "codec_settings", "journal"},
    {"chunk_io", "settings", "write_plan"},
    {"configured", "graph", "translation", "trimming", "workers"},
    {"create", "read", "nodes", "rechunk_target", "regions", "resizing", "verification"},
    {"prepare"},
    {"begin", "prepare_new"},
    {"begin_tree", "rechunk_prepare", "write"},
    {"appending", "rechunk_call"},
    {"convert", "rechunking", "repairing", "storing"},
    {"anndata", "install", "intake", "ome", "xarray"},
]
FACES = {"anndata": {"scipy"}, "intake": {"intake"}, "xarray": {"pandas", "xarray"}}  # others' packages it is for
ROW = {name: i for i, row in enumerate(ROWS) for name in row}
ROW_0_ORDER = [
    "errors",
    "warning",
    "synonyms",
    "checksum",
    "byte_range",
    "chunk_key",
    "chunk_grid",
    "rectilinear_grid",
    "block_grid",
]
ROW_0_ORDER += ["block_grid", "alignment", "segments", "ownership", "receipt", "receipt_text", "size_text"]
FILES = [path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py"]
MODULES_WITHOUT_DASK = [name for row in ROWS[:5] for name in sorted(row)]


def part_of(path):
    """The top-level module a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports_of(path):
    """Every module a file imports, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_module_has_a_row():
    assert {part_of(path) for path in FILES} == set(ROW) | {"testing"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path):
    here = part_of(path)
    for module in imports_of(path):
        parts = module.split(".")
        if parts[0] != "daskzarr" or len(parts) == 1:
            continue
        there = parts[1]
        if there == here or here == "testing" or there not in ROW:
            continue
        if ROW[there] == ROW[here] == 0:
            assert ROW_0_ORDER.index(there) < ROW_0_ORDER.index(here), f"{here} imports {there}"
        else:
            assert ROW[there] < ROW[here], f"{here} imports {there}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_imports_testing(path):
    if part_of(path) != "testing":
        assert not any(module.startswith("daskzarr.testing") for module in imports_of(path))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_dasks_graph_classes_stay_in_the_graph_layer(path):
    for module in imports_of(path):
        if module.split(".")[0] in {"dask", "distributed"}:
            assert part_of(path) == "testing" or ROW[part_of(path)] >= ROW["graph"]
            private = any(part.startswith("_") for part in module.split(".")) or "blockwise" in module
            graph = "highlevelgraph" in module or private
            assert not graph or path.name in {"dask_names.py", "expression.py"}, f"{path}: {module}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_peers_are_never_imported(path):
    peers = {"zarr", "xarray", "pandas", "tensorstore", "intake", "scipy", "anndata"} - FACES.get(part_of(path), set())
    assert not {module.split(".")[0] for module in imports_of(path)} & peers


def loaded_after(statement):
    """The modules a fresh Python has loaded after a statement."""
    code = f"import sys; {statement}; print(*sorted(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


PEERS = {"zarr", "xarray", "pandas", "tensorstore", "ome_zarr", "ome_zarr_models", "anndata", "intake"}


def test_importing_daskzarr_loads_no_peer():
    assert not loaded_after("import daskzarr") & PEERS


def test_using_daskzarr_loads_no_peer_that_dask_does_not():
    statement = "import daskzarr; daskzarr.from_zarr, daskzarr.to_zarr, daskzarr.open_array, daskzarr.create_array"
    by_dask = loaded_after(
        "import dask.array, dask.threaded, dask.delayed"
    )  # Dask loads xarray where that is installed
    assert not (loaded_after(statement) & PEERS) - by_dask


def test_lower_rows_load_no_dask():
    statement = "; ".join(f"import daskzarr.{name}" for name in MODULES_WITHOUT_DASK)
    loaded = loaded_after(statement)
    assert "daskzarr.chunk_io" in loaded
    assert not loaded & {"dask", "distributed", "zarr", "xarray", "pandas"}
