"""Pages of the server's own: what is on offer, the login, and what went wrong. They run no script but the login's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from explorer.digits import counted
from explorer.offer import Offer
from explorer.text import fill

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --faint: #5d6670; --line: #d5dae1; --paper: #fff; --card: #f7f8fa;
  --link: #1d5fbf; --danger: #b91c1c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7eaee; --faint: #9aa1ab; --line: #3a414b; --paper: #16191d;
  --card: #1d2126; --link: #7db3ff; --danger: #f87171; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 2.2rem 1.4rem 3rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, sans-serif; overflow-wrap: anywhere; }
header { display: flex; justify-content: space-between; align-items: baseline; gap: 1rem; }
h1 { font-size: 1.5rem; margin: 0 0 .2rem; }
h2 { font-size: 1.1rem; margin: 0; }
p { margin: .3rem 0; }
a { color: var(--link); }
article { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1.1rem 1.3rem;
  margin: 1.1rem 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: .6rem 0 .9rem; font-size: .93rem; }
dt { color: var(--faint); } dd { margin: 0; }
nav { display: flex; flex-wrap: wrap; gap: .6rem; }
nav a, button { display: inline-block; padding: .42rem .95rem; border-radius: .45rem; border: 1px solid var(--link);
  color: var(--link); background: none; font: inherit; text-decoration: none; cursor: pointer; }
nav a:first-child, form.login button { background: var(--link); color: var(--paper); }
a:focus-visible, button:focus-visible, input:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
form.out button { border-color: var(--line); color: var(--faint); padding: .2rem .7rem; font-size: .88rem; }
form.login { display: flex; flex-wrap: wrap; gap: .6rem; margin: 1rem 0; }
input { flex: 1 1 16rem; padding: .45rem .7rem; border: 1px solid var(--line); border-radius: .45rem; font: inherit;
  background: var(--paper); color: var(--ink); }
.faint { color: var(--faint); font-size: .9rem; }
.problem { color: var(--danger); }
@media (max-width: 36rem) { dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .4rem; } }
"""

# A link from a mail or a chat comes without the cookie (SameSite=Strict); a request of the page's own brings it.
_ALREADY_IN = """
fetch(document.body.dataset.session, {cache: "no-store"}).then(function (answer) {
  if (answer.status === 204) location.replace(document.body.dataset.target);
});
"""


@dataclass(frozen=True, slots=True)
class AppOffer:
    """An app as the landing page names it: the folder of its address, and what it is for."""

    folder: str
    question: str


APPS = (
    AppOffer("explore", "Neighbours, side by side"),
    AppOffer("judge", "Is the learned one worth it?"),
    AppOffer("contexts", "What holds elsewhere?"),
    AppOffer("predict", "Does it predict unseen ones?"),
    AppOffer("shortlist", "What to test next?"),
)


def links_from(here: str, *, dataset: str, context: str) -> tuple[tuple[str, str], ...]:
    """List the ways out of an app of a shared server: a label and a relative address each.

    Parameters
    ----------
    here
        Folder of the app.
    dataset, context
        What is looked at, and is to be looked at in the other apps.
    """
    query = urlencode({"dataset": dataset, "context": context})
    others = [(app.question, f"../{app.folder}/?{query}") for app in APPS if app.folder != here]
    return (("All datasets", "../"), *others)


def landing_page(offers: Sequence[Offer], *, prefix: str, has_login: bool, nonce: str) -> str:
    """Write the page that lists the datasets, each with the apps that open it.

    Parameters
    ----------
    offers
        The datasets; nothing in them is trusted.
    prefix
        Path below which the server's pages are.
    has_login
        Whether there is something to log out of.
    nonce
        What lets our style apply.
    """
    leave = fill(
        '<form class="out" method="post" action="{prefix}/logout"><button>Log out</button></form>', prefix=prefix
    )
    articles = "".join(_article(offer, prefix) for offer in offers) or "<p>No dataset is offered yet.</p>"
    body = f"""<header><h1>Perturbation maps</h1>{leave if has_login else ""}</header>
<p class="faint">Who are a perturbation's neighbours, in a simple and in a learned representation, and is the learned
one worth it? Choose a dataset. The address of a page holds all that it shows: send it to share it.</p>
{articles}"""
    return _page("Perturbation maps", body, nonce=nonce)


def _article(offer: Offer, prefix: str) -> str:
    if offer.problem:
        return fill(
            '<article><h2>{title}</h2><p class="problem">This dataset can\'t be shown: {problem}</p></article>',
            title=offer.title,
            problem=offer.problem,
        )
    contexts = "<br>".join(
        fill(
            "<strong>{name}</strong>, {conditions}: {perturbations}{rows}",
            name=context.name,
            conditions=context.conditions,
            perturbations=counted(context.n_perturbations, "perturbation"),
            rows="" if context.n_rows == context.n_perturbations else f" in {counted(context.n_rows, 'row')}",
        )
        for context in offer.contexts
    )
    representations = "<br>".join(
        fill("{kind}: {names}", kind=kind, names=", ".join(names)) for kind, names in offer.representations
    )
    links = "".join(
        fill(
            '<a href="{prefix}/{folder}/?dataset={name}">{question}</a>',
            prefix=prefix,
            folder=app.folder,
            name=quote(offer.name, safe=""),
            question=app.question,
        )
        for app in APPS
    )
    said = fill(
        "<dt>Licence</dt><dd>{license}</dd><dt>Cite</dt><dd>{citation}</dd>",
        license=offer.license,
        citation=offer.citation,
    )
    title = fill('<h2>{title}</h2><p class="faint">{name}</p>', title=offer.title, name=offer.name)
    return (
        f"<article>{title}<dl><dt>Contexts</dt><dd>{contexts}</dd><dt>Representations</dt><dd>{representations}</dd>"
        f"{said}</dl><nav>{links}</nav></article>"
    )


def login_page(target: str, problem: str, *, prefix: str, nonce: str) -> str:
    """Write the login page.

    Parameters
    ----------
    target
        Where it leads to, a path below the prefix that `explorer.access.safe_target` has passed.
    problem
        Why the last try failed, in a sentence; else empty.
    prefix
        Path below which the server's pages are.
    nonce
        What lets our style apply and our script run.
    """
    body = fill(
        """<h1>Perturbation maps</h1>
<p>To see them, enter the token that the people of this server gave you.</p>
<p class="problem" role="alert">{problem}</p>
<form class="login" method="post" action="{prefix}/login">
<input type="hidden" name="next" value="{target}">
<input type="password" name="token" aria-label="Token" placeholder="Token" autocomplete="current-password" required
 autofocus>
<button>Enter</button></form>""",
        problem=problem,
        prefix=prefix,
        target=target,
    )
    # After a failed try nobody is in.
    script = "" if problem else fill('<script nonce="{nonce}">', nonce=nonce) + _ALREADY_IN + "</script>"
    data = {"session": f"{prefix}/session", "target": f"{prefix}{target}"}
    return _page("Log in · Perturbation maps", body + script, nonce=nonce, data=data)


def message_page(heading: str, sentence: str, *, prefix: str, nonce: str) -> str:
    """Write a page that says what went wrong, and leads back."""
    body = fill(
        '<h1>{heading}</h1><p>{sentence}</p><p><a href="{prefix}/">All datasets</a></p>',
        heading=heading,
        sentence=sentence,
        prefix=prefix,
    )
    return _page(heading, body, nonce=nonce)


def _page(title: str, body: str, *, nonce: str, data: Mapping[str, str] | None = None) -> str:
    attributes = "".join(fill(' data-{name}="{value}"', name=name, value=value) for name, value in (data or {}).items())
    head = fill(
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>'
        '<style nonce="{nonce}">',
        title=title,
        nonce=nonce,
    )
    return f"{head}{_STYLE}</style></head><body{attributes}>{body}</body></html>\n"
