"""What a server offers, and what is made before anyone asks."""

import logging
import os

import pytest
from files import CONTROL, PERTURBATIONS, write_card, write_dataset, write_two_datasets

from explorer import catalog, offer
from explorer.catalog import open_catalog
from explorer.keeping import Shared
from explorer.offer import describe_offer, offers_of, warm


@pytest.fixture(autouse=True)
def _nothing_shared_yet(monkeypatch):
    monkeypatch.setattr(catalog, "_shared", Shared())
    monkeypatch.setattr(offer, "_shared", Shared())


@pytest.fixture
def root(tmp_path):
    return write_two_datasets(tmp_path / "catalog")


def test_a_dataset_in_a_few_lines(root):
    found = describe_offer(open_catalog(root).dataset("one"))
    assert (found.name, found.title, found.license, found.citation) == ("one", "Toy", "CC0", "none")
    (context,) = found.contexts
    assert (context.name, context.n_rows, context.n_perturbations) == ("cells", 26, len(PERTURBATIONS))
    assert context.conditions.startswith("toy cells · ")
    assert context.conditions.endswith(" · layout not declared")
    assert found.representations == (("simple", ("raw",)), ("learned", ("latent",)))
    assert CONTROL not in PERTURBATIONS


def test_a_dataset_is_described_once_and_anew_when_it_changes(root, monkeypatch):
    described = []

    def note(dataset):
        described.append(dataset.name)
        return describe_offer(dataset)

    monkeypatch.setattr(offer, "describe_offer", note)
    for _ in range(3):
        offers_of(open_catalog(root))
    assert described == ["one", "two"]
    write_card(root / "one", {"title": "Toy, second edition"})
    os.utime(root / "one" / "card.toml", (1, 1))
    offers_of(open_catalog(root))
    assert described == ["one", "two", "one"]


def test_a_dataset_that_cannot_be_used_stands_last_with_its_reason(root):
    (root / "one" / "rows.parquet").write_bytes(b"not a table")
    write_dataset(root / "zero")
    (root / "zero" / "card.toml").write_text("title = ")
    found = offers_of(open_catalog(root))
    assert [one.name for one in found] == ["two", "one", "zero"]
    assert [bool(one.problem) for one in found] == [False, True, True]
    assert "rows.parquet" in found[1].problem
    assert str(root) not in found[1].problem + found[2].problem


def test_a_warm_server_reads_nothing_when_the_first_page_is_opened(root, monkeypatch):
    found = open_catalog(root)
    warm(found)
    monkeypatch.setattr(catalog, "load_screen", lambda *_: pytest.fail("a screen was read"))
    monkeypatch.setattr(catalog, "collect_moments", lambda *_, **__: pytest.fail("rows were read"))
    warm(found)


def test_what_cannot_be_warmed_is_logged_and_passed_over(root, caplog):
    (root / "one" / "latent_cells.parquet").write_bytes(b"not a table")
    found = open_catalog(root)
    with caplog.at_level(logging.WARNING):
        warm(found)
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["not warmed"]
    assert catalog.shared_screen(found.dataset("two"), "cells").rows.height == 26


@pytest.mark.parametrize("error", [MemoryError, ZeroDivisionError])
@pytest.mark.parametrize("step", ["answer_view", "describe_offer"])
def test_one_dataset_that_fails_does_not_keep_the_others_from_being_warmed(root, monkeypatch, caplog, error, step):
    found, real, asked = open_catalog(root), getattr(offer, step), []

    def fail_once(*arguments, **options):
        asked.append(step)
        if len(asked) == 1:
            raise error
        return real(*arguments, **options)

    monkeypatch.setattr(offer, step, fail_once)
    with caplog.at_level(logging.WARNING):
        warm(found)
    said = "can't be offered: one" if step == "describe_offer" else "not warmed: one, cells"
    assert [record.getMessage() for record in caplog.records] == [said]
    assert len(asked) == 2
    monkeypatch.setattr(catalog, "collect_moments", lambda *_, **__: pytest.fail("rows were read"))
    catalog.shared_map(found.dataset("two"), "cells", "raw")


def test_a_dataset_whose_rows_fail_is_offered_with_the_reason(root, monkeypatch):
    monkeypatch.setattr(offer, "describe_offer", lambda _: [][1])
    assert [found.problem for found in offers_of(open_catalog(root))] == 2 * ["its rows could not be read (IndexError)"]


def test_warming_stops_when_the_server_does(root, monkeypatch):
    monkeypatch.setattr(offer, "answer_view", lambda *_, **__: pytest.fail("went on"))
    warm(open_catalog(root), is_stopping=lambda: True)
