from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from eventstore import Store, open_store

settings.register_profile(
    "default",
    deadline=None,  # timing never decides a test
    max_examples=int(os.environ.get("TURNLOG_EXAMPLES", "100")),
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("default")

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Every backend; the contract is one."""
    opened = open_store("memory:" if request.param == "memory" else tmp_path / "calls.db")
    yield opened
    opened.close()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "calls.db")
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def _no_garbage() -> Iterator[None]:
    yield
    gc.collect()  # an unclosed connection is a warning, and a warning an error, in the test that caused it
