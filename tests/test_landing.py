"""The server's own pages."""

import html
import re
from html.parser import HTMLParser

import pytest
from files import PAYLOADS

from explorer.landing import APPS, landing_page, links_from, login_page, message_page
from explorer.offer import ContextOffer, Offer

OFFER = Offer(
    "toy",
    "A toy",
    "CC0",
    "nobody",
    (ContextOffer("k562", "K562 · CRISPRi", 12_345, 1_200), ContextOffer("a549", "A549", 7, 7)),
    (("simple", ("raw", "pca")), ("learned", ("scvi",))),
)


class Tags(HTMLParser):
    """Every tag of a page with its attributes, and all text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def test_a_dataset_is_listed_with_what_it_holds_and_the_apps_that_open_it():
    page = Tags(landing_page([OFFER], prefix="/lab", has_login=True, nonce="N"))
    for words in ("A toy", "CC0", "nobody", "simple: raw, pca", "learned: scvi", "a549"):
        assert words in page.text
    assert "1,200 perturbations in 12,345 rows" in page.text
    assert "7 perturbations" in page.text
    assert "in 7 rows" not in page.text
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert links == [f"/lab/{app.folder}/?dataset=toy" for app in APPS]
    assert ("form", {"class": "out", "method": "post", "action": "/lab/logout"}) in page.tags


def test_without_a_login_there_is_nothing_to_log_out_of():
    assert "<form" not in landing_page([OFFER], prefix="", has_login=False, nonce="N")


def test_a_name_with_signs_makes_a_link_that_holds():
    page = Tags(landing_page([Offer("a b+c", "x")], prefix="", has_login=False, nonce="N"))
    assert page.tags[-1][1]["href"] == "/shortlist/?dataset=a%20b%2Bc"


def test_a_dataset_that_cannot_be_shown_says_why_and_opens_nothing():
    page = landing_page([Offer("toy", "A toy", problem="the file is gone")], prefix="", has_login=False, nonce="N")
    assert "can't be shown: the file is gone" in html.unescape(page)
    assert "<a " not in page


def test_an_empty_catalog_is_said_to_be_empty():
    assert "No dataset is offered yet" in landing_page([], prefix="", has_login=False, nonce="N")


@pytest.mark.parametrize("payload", PAYLOADS)
def test_nothing_of_the_data_becomes_markup(payload):
    offer = Offer(
        payload,
        payload,
        payload,
        payload,
        (ContextOffer(payload, payload, 2, 1),),
        ((payload, (payload, payload)),),
    )
    plain = Offer("p", "p", "p", "p", (ContextOffer("p", "p", 2, 1),), (("p", ("p", "p")),))
    for make in (
        lambda one: landing_page([one], prefix="", has_login=True, nonce="N"),
        lambda one: landing_page([Offer(one.name, one.title, problem=one.title)], prefix="", has_login=True, nonce="N"),
        lambda one: login_page(one.title, one.title, prefix="", nonce="N"),
        lambda one: message_page(one.title, one.title, prefix="", nonce="N"),
    ):
        found, expected = Tags(make(offer)), Tags(make(plain))
        assert [tag for tag, _ in found.tags] == [tag for tag, _ in expected.tags]
        assert [list(attributes) for _, attributes in found.tags] == [
            list(attributes) for _, attributes in expected.tags
        ]


def test_the_login_page_runs_its_script_only_before_a_try():
    page = Tags(login_page("/explore/?dataset=toy", "", prefix="/lab", nonce="N"))
    assert ("script", {"nonce": "N"}) in page.tags
    body = dict(page.tags)["body"]
    assert body == {"data-session": "/lab/session", "data-target": "/lab/explore/?dataset=toy"}
    fields = {attributes.get("name"): attributes for tag, attributes in page.tags if tag == "input"}
    assert fields["next"]["value"] == "/explore/?dataset=toy"
    assert fields["token"]["type"] == "password"
    failed = login_page("/", "That is not the token", prefix="", nonce="N")
    assert "<script" not in failed
    assert "That is not the token" in html.unescape(failed)


def test_every_page_has_a_title_and_styles_with_the_nonce():
    for page in (
        landing_page([], prefix="", has_login=False, nonce="N"),
        login_page("/", "", prefix="", nonce="N"),
        message_page("Not found", "There is nothing at this address.", prefix="/lab", nonce="N"),
    ):
        assert re.search(r"<title>[^<]+</title>", page)
        assert '<style nonce="N">' in page
        assert "style=" not in page
        assert "http" not in page


def test_each_app_leads_back_and_to_the_others():
    assert links_from("explore", dataset="a b+c", context="k562") == (
        ("All datasets", "../"),
        ("Is the learned one worth it?", "../judge/?dataset=a+b%2Bc&context=k562"),
        ("What holds elsewhere?", "../contexts/?dataset=a+b%2Bc&context=k562"),
        ("Does it predict unseen ones?", "../predict/?dataset=a+b%2Bc&context=k562"),
        ("What to test next?", "../shortlist/?dataset=a+b%2Bc&context=k562"),
    )
    assert [label for label, _ in links_from("judge", dataset="x", context="y")] == [
        "All datasets",
        "Neighbours, side by side",
        "What holds elsewhere?",
        "Does it predict unseen ones?",
        "What to test next?",
    ]
