"""What docs/formats.md says of daskzarr is so."""

import importlib.util
import re
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def loaded(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_say_what_is_so():
    script = loaded(DOCS / "support_tables.py")
    text = (DOCS / "formats.md").read_text()
    for name, expected in script.tables(peers=False).items():
        written = re.search(f"<!-- table: {name} -->\n(.*?)\n<!-- end -->", text, re.DOTALL)[1]
        # What peers read is as the script found it; releases differ.
        assert re.sub(r"yes[^|]*\|", "yes |", written) == expected, name
