"""What a view takes is made once, in its turn, and not at all where it stands ready."""

import threading
from dataclasses import replace

import pytest
import toys

from explorer import catalog as catalogs
from explorer import side_work
from explorer.catalog import Catalog, open_catalog
from explorer.errors import InputError
from explorer.keeping import NotMadeError, Shared, only_made
from explorer.layout import pca_layout
from explorer.side_activity import activity_of
from explorer.side_by_side import answer_view, distribution_of, shared_gene_sets, table_of, yardsticks
from explorer.side_work import Wished, answer_of, start_details, start_maps, umaps_of
from explorer.view import View, read_view
from explorer.wording import context_sentence
from explorer.work import Workshop

SOON = 20.0


@pytest.fixture
def workshop(monkeypatch) -> Workshop:
    """One turn, and caches in which nothing stands ready."""
    made = Workshop(most_running=1)
    monkeypatch.setattr(side_work, "shared_workshop", made)
    monkeypatch.setattr(catalogs, "_shared", Shared())
    monkeypatch.setenv("EXPLORER_CACHE", "/nonexistent/for/tests")
    return made


@pytest.fixture(scope="module")
def catalog(tmp_path_factory) -> Catalog:
    return open_catalog(toys.write_catalog(tmp_path_factory.mktemp("catalog")))


@pytest.fixture(scope="module")
def active_catalog(tmp_path_factory) -> Catalog:
    return open_catalog(toys.write_active_catalog(tmp_path_factory.mktemp("active")))


def view_of(catalog: Catalog, **changes: object) -> View:
    view, problems = read_view({}, catalog)
    assert problems == ()
    return replace(view, **changes)


class Turn:
    """The only turn of a workshop, taken for as long as the test says."""

    def __init__(self, workshop: Workshop) -> None:
        self.go = threading.Event()
        self.ticket = workshop.start("taken", lambda say: self.go.wait(SOON))
        assert self.ticket.state == "running"

    def end(self) -> None:
        self.go.set()
        assert self.ticket.wait(SOON)


def everything(catalog: Catalog, view: View) -> tuple[object, ...]:
    """All that the page computes of a view."""
    answer = answer_view(catalog, view)
    shown = answer.view, answer.pair
    return (
        answer.comparison.left.names,
        activity_of(catalog, answer.view),
        table_of(catalog, answer.view, answer.comparison),
        shared_gene_sets(catalog, answer.view, answer.comparison),
        distribution_of(*shown).mean,
        context_sentence(catalog, answer.view),
        yardsticks(catalog, *shown),
    )


@pytest.mark.parametrize("among", ["all", "active"])
@pytest.mark.parametrize("direction", ["similar", "opposite"])
def test_all_that_is_shown_was_prepared(workshop, active_catalog, among, direction):
    view = view_of(active_catalog, among=among, direction=direction)
    with only_made(), pytest.raises(NotMadeError):
        everything(active_catalog, view)
    maps = start_maps(active_catalog, view)
    assert maps.wait(SOON)
    if among == "all":
        with only_made():
            answer_view(active_catalog, view)
    answer, problem = answer_of(maps, active_catalog, view)
    assert problem == ""
    assert start_details(active_catalog, answer.view, answer.pair).wait(SOON)
    with only_made():
        found = everything(active_catalog, view)
    assert found[0] == answer.comparison.left.names
    assert len(found[-1]) >= 2, "yardsticks"


def test_a_click_waits_for_nobody(workshop, catalog):
    view = view_of(catalog)
    assert start_maps(catalog, view).wait(SOON)
    answer = answer_view(catalog, view)
    assert start_details(catalog, answer.view, answer.pair).wait(SOON)
    turn = Turn(workshop)
    for name in catalogs.shared_map(catalog.dataset("toy"), "alpha", "raw").names[:5]:
        clicked = replace(view, query=name)
        maps = start_maps(catalog, clicked)
        assert maps.state == "done"
        answer, problem = answer_of(maps, catalog, clicked)
        assert (problem, answer.view.query) == ("", name)
        assert start_details(catalog, answer.view, answer.pair).state == "done"
    assert start_maps(catalog, replace(view, align="none")).place == 1
    turn.end()


def test_sessions_that_look_at_the_same_maps_share_the_work(workshop, catalog):
    turn = Turn(workshop)
    view = view_of(catalog)
    tickets = [start_maps(catalog, replace(view, query=name, k=k)) for name in ("GENE01", "GENE02") for k in (2, 3)]
    assert [ticket.place for ticket in tickets] == [1, 1, 1, 1]
    assert start_maps(catalog, replace(view, align="none")).place == 2
    turn.end()
    assert all(ticket.wait(SOON) for ticket in tickets)


def test_what_can_not_be_made_is_one_sentence_and_poisons_nothing(workshop, catalog, monkeypatch):
    view = view_of(catalog)

    def fail(*_, **__):
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(side_work, "shared_map", fail)
        maps = start_maps(catalog, view)
        assert maps.wait(SOON)
        answer, problem = answer_of(maps, catalog, view)
        assert answer is None
        assert problem.startswith("this could not be computed (ZeroDivisionError")
    again = start_maps(catalog, view)
    assert again.wait(SOON)
    assert answer_of(again, catalog, view)[1] == ""


def test_a_dataset_that_is_gone(workshop, catalog, monkeypatch):
    def gone(*_):
        message = "the dataset 'toy' is no longer there"
        raise InputError(message)

    monkeypatch.setattr(side_work, "identity_of", gone)
    view = view_of(catalog)
    assert start_maps(catalog, view).problem == "the dataset 'toy' is no longer there"
    assert umaps_of(catalog, view, Wished(), begin=True).problem == "the dataset 'toy' is no longer there"
    assert umaps_of(catalog, view, Wished(), begin=False) is None


def test_what_was_cancelled_or_can_not_be_asked_for_has_no_answer(workshop, catalog):
    turn = Turn(workshop)
    view = view_of(catalog)
    maps = start_maps(catalog, view)
    maps.cancel()
    assert answer_of(maps, catalog, view) == (None, "cancelled")
    assert answer_of(side_work.refused("unknown context"), catalog, None) == (None, "unknown context")
    turn.end()


def test_umap_pictures_are_begun_once_and_followed(workshop, catalog, monkeypatch):
    view = view_of(catalog)
    assert start_maps(catalog, view).wait(SOON)
    calls = []

    def umap(made, *, compute):
        assert compute
        calls.append(made.recipe.representation)
        return replace(pca_layout(made), method="UMAP")

    monkeypatch.setattr(catalogs, "cached_umap", umap)
    turn = Turn(workshop)
    mine, theirs = Wished(), Wished()
    assert umaps_of(catalog, view, mine, begin=False) is None
    ticket = umaps_of(catalog, view, mine, begin=True)
    assert umaps_of(catalog, replace(view, query="GENE07"), mine, begin=False) is ticket, "a click keeps it"
    assert umaps_of(catalog, view, theirs, begin=False) is None, "nobody is shown what they did not ask for"
    joined = umaps_of(catalog, view, theirs, begin=True)
    assert joined.place == ticket.place == 1
    assert umaps_of(catalog, replace(view, right="raw"), mine, begin=False) is None
    assert mine.ticket is None, "of other maps, so it is withdrawn"
    turn.end()
    assert joined.wait(SOON)
    assert calls == ["raw", "latent"]
    assert {layout.method for layout in answer_view(catalog, view).pair.layouts} == {"UMAP"}
    assert umaps_of(catalog, view, theirs, begin=False) is None, "what is made is in the maps"


def test_another_view_withdraws_the_work_on_umap_pictures(workshop, catalog):
    view = view_of(catalog)
    turn = Turn(workshop)
    wished = Wished()
    assert umaps_of(catalog, view, wished, begin=True).state == "waiting"
    assert workshop.n_unfinished == 2
    assert umaps_of(catalog, replace(view, align="none"), wished, begin=False) is None
    assert workshop.n_unfinished == 1
    turn.end()
