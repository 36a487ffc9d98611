"""What has no room in memory is refused before it is made, in one sentence."""

import numpy as np
import pytest
from builders import Rows, batched_rows, random_map

from explorer import memory
from explorer.aggregate import build_map
from explorer.errors import InputError
from explorer.layout import pca_layout
from explorer.memory import free_bytes, machine_bytes, require_memory, size_text
from explorer.moments import collect_moments
from explorer.screen import Representation

GIB = 2**30


def test_there_is_no_more_free_than_there_is():
    assert 0 < free_bytes() <= machine_bytes()


@pytest.mark.parametrize(
    ("n_bytes", "text"), [(640 * 2**20, "640 MiB"), (GIB, "1.0 GiB"), (8 * 3198 * 10**6, "23.8 GiB"), (0, "0 MiB")]
)
def test_sizes_in_words(n_bytes, text):
    assert size_text(n_bytes) == text


def test_what_fits_is_not_refused():
    require_memory(GIB, of="anything", free=GIB)
    require_memory(0, of="nothing", free=0)


def test_what_does_not_fit_is_refused_with_how_to_mend_it():
    with pytest.raises(InputError) as caught:
        require_memory(GIB + 1, of="2 guides × 3 features", free=GIB)
    assert str(caught.value) == (
        "a table of 2 guides × 3 features needs 1.0 GiB of memory, 1.0 GiB are free: choose fewer features (the most "
        'variable ones), write transform = "pca" for the representation in the card, or use fewer guides'
    )


def test_small_tables_are_made_without_asking(monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda: pytest.fail("asked"))
    require_memory(memory.MOST_UNASKED_BYTES, of="little")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"memory.max": "1000", "memory.current": "400"}, [(1000, 400)]),
        ({"memory.max": "max", "memory.current": "400"}, []),
        ({"memory.max": "1000", "memory.current": "400", "memory.stat": "anon 9\nactive_file 30\ninactive_file 70\n"},
         [(1000, 300)]),
        ({"memory.limit_in_bytes": "1000", "memory.usage_in_bytes": "400"}, [(1000, 400)]),
        ({"memory.max": "1000"}, [(1000, 0)]),
        ({}, []),
    ],
)  # fmt: skip
def test_the_limit_of_a_service_is_what_it_may_take(tmp_path, monkeypatch, files, expected):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(memory, "_GROUPS", tmp_path)
    assert list(memory._limits()) == expected
    least = min((limit - used for limit, used in expected), default=None)
    assert least is None or free_bytes() == least


def test_tables_without_room_are_refused_before_a_row_is_read(monkeypatch):
    screen = batched_rows(seed=4).screen
    monkeypatch.setattr(memory, "MOST_UNASKED_BYTES", 0)
    monkeypatch.setattr(memory, "free_bytes", lambda: 100)
    monkeypatch.setattr(Representation, "chunks", lambda *_, **__: pytest.fail("rows were read"))
    with pytest.raises(InputError, match=r"^a table of .* guides × .* features needs .* are free: choose fewer"):
        build_map(screen, "raw")
    with pytest.raises(InputError, match=r"^a table of .* units \(perturbation × guide × batch\) × .* needs"):
        collect_moments(screen, screen.representation("raw"))


def test_a_map_is_made_where_there_is_just_room(monkeypatch):
    rows = batched_rows(seed=4)
    screen = Rows(rows.perturbations, rows.values).screen
    made = build_map(screen, "raw")
    n_perturbations, n_features = made.profiles.shape
    # Sums, the profiles made of them, and mean and variance of both halves of the controls.
    enough = max(12 * n_perturbations, 8 * (n_perturbations + 4)) * n_features + 12 * n_features
    monkeypatch.setattr(memory, "MOST_UNASKED_BYTES", 0)
    monkeypatch.setattr(memory, "free_bytes", lambda: enough)
    np.testing.assert_array_equal(build_map(screen, "raw").profiles, made.profiles)
    monkeypatch.setattr(memory, "free_bytes", lambda: 12 * n_perturbations * n_features - 1)
    with pytest.raises(InputError, match=f"a table of {n_perturbations} perturbations × {n_features} features"):
        build_map(screen, "raw")


def test_a_picture_without_room_is_refused(monkeypatch):
    made = random_map(n=8, n_features=20, seed=1)
    monkeypatch.setattr(memory, "MOST_UNASKED_BYTES", 0)
    monkeypatch.setattr(memory, "free_bytes", lambda: 0)
    with pytest.raises(InputError, match="a table of 8 perturbations × 20 features needs"):
        pca_layout(made)
