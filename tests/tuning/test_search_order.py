"""Searches go as they were recorded, to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tuning.recorded_searches import FOLDER, SITUATIONS, record


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_search_goes_as_it_went(name: str, tmp_path: Path) -> None:
    stored = (FOLDER / f"{name.replace(' ', '-')}.txt").read_text()
    assert record(SITUATIONS[name], tmp_path).splitlines() == stored.splitlines()
