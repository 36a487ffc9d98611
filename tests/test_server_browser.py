"""The shared server as people meet it, in a real browser; and over a catalog in which every text attacks the page."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

import probes
import pytest
import toys
from browser import (
    TOKEN,
    Served,
    Visit,
    cookie_of,
    free_port,
    log_in,
    missing_browser,
    open_page,
    serve_catalog,
    start_browser,
)
from conftest import DEMO
from files import write_card
from test_explore_browser import FOREIGN_ELEMENTS

pytestmark = pytest.mark.skipif(bool(missing_browser()), reason=missing_browser())

PATIENCE = 60_000
# What an attack sets; every page begins with a trap for it.
HIT = "window.hit=1"
TRAP = """
    window.hits = [];
    Object.defineProperty(window, "hit", { set(value) { window.hits.push(value); } });
    addEventListener("securitypolicyviolation", (event) => {
        (window.violations ??= []).push(`${event.effectiveDirective} ${event.blockedURI}`);
    });
"""
PAYLOADS = (
    f"<img src=x onerror={HIT}>",
    f"<script>{HIT}</script>",
    f"<script src=data:text/javascript,{HIT}></script>",
    f"<iframe srcdoc='<script>parent.{HIT}</script>'>",
    f'"><svg onload={HIT}>',
    f"'><b onmouseover={HIT} style=position:fixed;inset:0>",
    f"javascript:{HIT}",
    f"[x](javascript:{HIT}) ![y](https://elsewhere.example/y.png)",
    f"{{{{constructor.constructor('{HIT}')()}}}} ${{{HIT}}}",
    f"</title></style></textarea><img src=x onerror={HIT}>",
    rf"$\href{{javascript:{HIT}}}{{x}}$",
)
EVERYTHING = " ".join(PAYLOADS)
FULL = {"query": PAYLOADS[0], "context": "alpha", "left": "raw", "right": "latent"}
# HTML that would do harm if it were taken for markup, by each way that a page could run something.
MARKUP = f"""<div><img src=x onerror="{HIT}"><svg onload="{HIT}"></svg><script>{HIT}</script>
<script src="data:text/javascript,{HIT}"></script><script type="module" src="data:text/javascript,{HIT}"></script>
<iframe srcdoc="<script>parent.{HIT}</script>"></iframe><iframe src="javascript:parent.{HIT}"></iframe>
<object data="data:text/html,<script>parent.{HIT}</script>"></object><details open ontoggle="{HIT}"></details>
<video src=x onerror="{HIT}"></video><input autofocus onfocus="{HIT}"><style onload="{HIT}"></style>
<base href="http://127.0.0.1:9/"><link rel=stylesheet href="http://127.0.0.1:9/x.css" onload="{HIT}">
<marimo-anywidget data-initial-value='{{"model_id":"x"}}' data-js-url='"data:text/javascript,{HIT}"'
 data-js-hash='"a"' data-model-id='"x"'></marimo-anywidget><a id=link href="javascript:{HIT}">a link</a></div>"""
NOTEBOOK = """
import marimo
app = marimo.App()

@app.cell
def page():
    import marimo as mo
    payload = {markup!r}
    mo.vstack([mo.Html(payload), mo.md(payload), mo.md("**the end**")])
    return
"""


@pytest.fixture(scope="module")
def browser():
    with start_browser() as running:
        yield running


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> dict[str, str]:
    return {"EXPLORER_CACHE": str(tmp_path_factory.mktemp("cache"))}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> Path:
    """A catalog in which every text that can be one is an attack, and folders that must be passed over."""
    root = toys.write_hostile_catalog(tmp_path_factory.mktemp("hostile"), PAYLOADS, everything=EVERYTHING)
    for payload in PAYLOADS:
        folder = root / payload.replace("/", "\u2215")
        write_card(folder, {"title": payload}, card=toys.CARD)
    # Names of files, of representations and of contexts that reach a sentence about what is wrong.
    broken = {"contexts/alpha/rows": f"{PAYLOADS[0]}.parquet", f"representations/{PAYLOADS[1]}/kind": PAYLOADS[4]}
    write_card(root / "broken", broken, card=toys.CARD)
    write_card(root / "odd_key", {PAYLOADS[0].replace("/", ""): PAYLOADS[1]}, card=toys.CARD)
    return root


@pytest.fixture(scope="module")
def served(hostile, environment) -> Iterator[Served]:
    with serve_catalog(hostile, "--no-warm", env=environment) as found:
        yield found


@pytest.fixture(scope="module")
def demo_served(environment) -> Iterator[Served]:
    with serve_catalog(DEMO, "--no-warm", env=environment) as found:
        yield found


@contextlib.contextmanager
def visiting(browser, url: str = "about:blank", **options) -> Iterator[Visit]:
    """A browser of somebody's own, with a trap for whatever runs."""
    with open_page("about:blank", browser=browser, **options) as visit:
        visit.page.set_default_timeout(PATIENCE)
        visit.page.add_init_script(TRAP)
        if url != "about:blank":
            visit.page.goto(url)
        yield visit


def require_quiet(visit: Visit, *, but: str = "") -> None:
    """Nothing ran, nothing was blocked, nothing left, nothing was taken for markup."""
    assert [problem for problem in visit.problems() if not (but and but in problem)] == []
    assert visit.page.evaluate("window.hits") == []
    assert visit.page.evaluate("window.violations ?? []") == []
    assert visit.page.evaluate(FOREIGN_ELEMENTS) == []
    visit.forget()


def wait_for_maps(visit: Visit) -> None:
    visit.page.locator(".linked-maps").wait_for()
    visit.page.get_by_role("heading", name="How far do they agree?").wait_for()


# ---------------------------------------------------------------- data that attacks


def test_hostile_catalog(served, browser, hostile):
    with visiting(browser) as visit:
        page = visit.page
        for target in ("/", *PAYLOADS):
            page.goto(f"{served.url}/login?{urlencode({'next': target})}")
            assert page.locator("input[name=next]").get_attribute("value") == "/"
            require_quiet(visit)
        page.get_by_label("Token").fill(PAYLOADS[0])
        page.get_by_role("button", name="Enter").click()
        page.get_by_role("alert").get_by_text("That is not the token").wait_for()
        require_quiet(visit, but="401")
        log_in(page, f"{served.url}/")
        assert page.locator("article").count() == len(list(hostile.glob("*/card.toml"))) - len(PAYLOADS) - 1
        text = page.locator("body").inner_text()
        assert all(" ".join(payload.split()) in text for payload in PAYLOADS)
        assert page.locator("article", has_text="can't be shown").count() == 2
        require_quiet(visit)
        for payload in PAYLOADS:
            page.goto(f"{served.url}/?x={quote(payload)}")
            page.goto(f"{served.url}/{quote(payload, safe='')}")
            require_quiet(visit, but="404")
        page.goto(f"{served.url}/")
        page.get_by_role("link", name="Neighbours, side by side").first.click()
        wait_for_maps(visit)
        assert "<img" in page.locator("body").inner_text()
        page.get_by_role("button", name="About this dataset").click()
        about = page.get_by_role("region", name="About this dataset")
        about.get_by_text("Licence.").first.wait_for()
        require_quiet(visit)
        for turn in range(2):
            names = (
                "dataset",
                "context",
                "query",
                "left",
                "right",
                "align",
                "k",
                "direction",
                "list",
                "among",
                "recipes",
            )
            odd = {name: PAYLOADS[(place + turn) % len(PAYLOADS)] for place, name in enumerate(names)}
            page.goto(f"{served.url}/explore/?{urlencode({**odd, PAYLOADS[0]: PAYLOADS[1]})}")
            wait_for_maps(visit)
            page.locator("marimo-callout-output", has_text="unknown").first.wait_for()
            require_quiet(visit)
        odd = {
            name: PAYLOADS[place] for place, name in enumerate(("dataset", "context", "simple", "learned", "sources"))
        }
        for link in ({"dataset": "toy"}, odd):
            page.goto(f"{served.url}/judge/?{urlencode(link)}")
            page.get_by_role("heading").nth(1).wait_for()
            require_quiet(visit)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["ours", "none"])
def test_policy_holds_where_escaping_would_not(browser, hostile, environment, tmp_path, policy):
    """Unescaped HTML of the worst kind in a notebook: our policy stops it; without the policy it runs."""
    for app in probes.APPS:
        (tmp_path / f"{app}.py").write_text(NOTEBOOK.format(markup=MARKUP), encoding="utf-8")
    code = (
        f"import pathlib, explorer.server as server, explorer.headers as headers; "
        f"server.apps_folder = lambda: pathlib.Path({str(tmp_path)!r}); "
    )
    if policy == "none":
        code += "headers._APP_POLICY = \"default-src * data: blob: 'unsafe-inline' 'unsafe-eval'\"; "
    code += "from explorer.cli import main; sys.exit(main())"
    with serve_catalog(hostile, "--no-warm", env=environment, code=code) as served, visiting(browser) as visit:
        log_in(visit.page, f"{served.url}/explore/")
        visit.page.get_by_text("the end").wait_for()
        visit.page.locator("#link").first.click()
        if policy == "none":
            visit.page.wait_for_function("window.hits.length > 0")
            return
        for kind in ("script-src-attr", "script-src-elem data"):
            visit.page.wait_for_function("kind => violations.some((said) => said.startsWith(kind))", arg=kind)
        assert visit.page.evaluate("window.hits") == []
        assert visit.blocked == []


# ---------------------------------------------------------------- people


@pytest.mark.slow
def test_login_leads_to_what_was_asked_for(demo_served, browser):
    asked = f"{demo_served.url}/explore/?dataset=depmap&query=USP22&k=7"
    with visiting(browser, asked) as visit:
        # By keyboard alone: the field has the focus.
        visit.page.keyboard.type("not-the-token-of-this-one")
        visit.page.keyboard.press("Enter")
        visit.page.get_by_role("alert").get_by_text("That is not the token").wait_for()
        assert TOKEN not in visit.page.content()
        visit.page.keyboard.type(TOKEN)
        visit.page.keyboard.press("Enter")
        visit.page.locator("strong", has_text=re.compile("^USP22: .* of 7 ")).wait_for()
        wait_for_maps(visit)
        visit.page.locator("[data-testid=notebook-actions-dropdown]").wait_for(state="hidden")
        assert all(cookie["httpOnly"] and cookie["sameSite"] == "Strict" for cookie in visit.page.context.cookies())
        assert visit.page.evaluate("document.cookie") == ""
        require_quiet(visit, but="401")
        # From a page of another site, and as if it came by mail.
        view = visit.page.url
        visit.page.goto(f"data:text/html,<a href='{view}'>the view</a>")
        visit.page.get_by_role("link").click()
        wait_for_maps(visit)
        assert "query=USP22" in visit.page.url
        with visiting(browser, view) as other:
            log_in(other.page, view)
            wait_for_maps(other)
            shown = [one.page.locator("strong", has_text="USP22: ").inner_text() for one in (visit, other)]
            assert shown[0] == shown[1]
            require_quiet(other)
        # In another tab: the page that is still open says so at its next request.
        tab = visit.page.context.new_page()
        tab.goto(f"{demo_served.url}/")
        tab.get_by_role("button", name="Log out").click()
        tab.get_by_label("Token").wait_for()
        assert visit.page.context.cookies() == []
        visit.page.get_by_label("Show the most").select_option(label="opposite")
        visit.page.get_by_role("alert").get_by_text("You are logged out").wait_for()
        visit.page.get_by_role("link", name="Open it again").click()
        visit.page.get_by_label("Token").wait_for()


@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), [(360, False), (1280, True)])
def test_own_pages_on_a_phone_and_in_the_dark(demo_served, browser, width, dark):
    fits = "document.documentElement.scrollWidth <= innerWidth"
    with visiting(browser, f"{demo_served.url}/", width=width, dark=dark) as visit:
        ground = "getComputedStyle(document.body).backgroundColor"
        for path in ("/login", "/nothing", "/"):
            if path == "/":
                log_in(visit.page, f"{demo_served.url}/")
                visit.page.locator("article").first.wait_for()
            else:
                visit.page.goto(demo_served.url + path)
            assert visit.page.evaluate(fits)
            assert visit.page.evaluate(ground) == ("rgb(22, 25, 29)" if dark else "rgb(255, 255, 255)")
            require_quiet(visit, but="Failed to load resource")
        assert visit.page.locator("html[lang=en]").count() == 1
        assert visit.page.get_by_role("link").count() == 2 * len(probes.APPS)


@pytest.mark.slow
def test_a_page_left_open_while_the_server_restarts(browser, hostile, environment):
    port = free_port()
    with contextlib.ExitStack() as stack:
        visit = stack.enter_context(visiting(browser))
        with serve_catalog(hostile, "--no-warm", port=port, env=environment) as served:
            log_in(visit.page, f"{served.url}/explore/?{urlencode(FULL)}")
            wait_for_maps(visit)
        visit.page.get_by_role("button", name="Reconnect to app").wait_for()
        stack.enter_context(serve_catalog(hostile, "--no-warm", port=port, env=environment))
        # The cookie outlives the restart, and so does the view.
        visit.page.reload()
        wait_for_maps(visit)
        assert visit.page.evaluate("window.hits") == []


def test_a_full_server_says_so(browser, hostile, environment):
    with serve_catalog(hostile, "--no-warm", "--most-pages", "1", env=environment) as served:
        asker = probes.Asker(served)
        with (
            asker.open_socket("/judge/ws?session_id=s_first&dataset=nothing", cookie_of(served)),
            visiting(browser) as visit,
        ):
            log_in(visit.page, f"{served.url}/explore/")
            visit.page.get_by_role("heading", name="The server is full").wait_for()
            require_quiet(visit, but="503")
        asker.close()
