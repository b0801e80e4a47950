"""docs/disagreements.md says what the tests hold: every known disagreement, and none that no test looks at."""

from pathlib import Path

import pytest

from .disagreements import DISAGREEMENTS, table

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs" / "disagreements.md"


def test_the_document_has_the_table():
    assert DOCUMENT.read_text().endswith("\n\n" + table()), "write the table of tests/interop/disagreements.py into it"


@pytest.mark.parametrize("key", DISAGREEMENTS)
def test_every_disagreement_is_one_that_a_test_looks_at(key):
    assert any(f'"{key}"' in path.read_text() for path in HERE.glob("test_*.py"))
