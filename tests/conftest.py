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


@pytest.fixture
def own_workshop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the judge's work of this test wait for no other's."""
    from explorer import judge_details, judged
    from explorer.work import Workshop

    workshop = Workshop()
    for module in (judged, judge_details):
        monkeypatch.setattr(module, "shared_workshop", workshop)


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
