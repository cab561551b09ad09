"""`mutants.py` still finds what it means to break. (`make mutants` runs it; that takes minutes.)"""

from __future__ import annotations

import pytest

from mutants import HERE, MUTANTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.file}-{mutant.test}")
def test_the_line_is_there_and_once(mutant: Mutant) -> None:
    assert (HERE / mutant.file).read_text().count(mutant.old) == 1
    assert mutant.path()
