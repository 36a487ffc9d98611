"""What every test shares: nothing is written outside a test's own folder."""

from __future__ import annotations

from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
DEMO = PROJECT / "demo_data"
FIELD = PROJECT.parent / "shared" / "field"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPLORER_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def demo() -> Path:
    """Folder of the demo catalog."""
    return DEMO


@pytest.fixture(scope="session")
def field() -> Path:
    """Folder of real files that are not part of the project; tests that need it skip where it is absent."""
    if not FIELD.is_dir():
        pytest.skip(f"no field data at {FIELD.parent.name}/{FIELD.name} beside the project")
    return FIELD
