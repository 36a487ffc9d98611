"""What every answer says to the browser."""

import json
from html import escape

from explorer.headers import secured, with_nonce


def test_every_answer_says_what_the_browser_may_do():
    given = [(b"server", b"uvicorn"), (b"Set-Cookie", b"a=b"), (b"content-type", b"text/html"), (b"etag", b"1")]
    for part in ("page", "asset", "file", "call", "landing", None):
        found = dict(secured(given, part, nonce="NONCE", status=200))
        assert found[b"content-type"] == b"text/html"
        assert not {b"server", b"Set-Cookie", b"etag"} & set(found)
        assert found[b"x-content-type-options"] == b"nosniff"
        policy = found[b"content-security-policy"]
        assert b"frame-ancestors 'none'" in policy
        assert b"default-src 'none'" in policy
        assert b"unsafe-inline" not in policy.partition(b"script-src")[2].partition(b";")[0]
        assert (b"max-age" in found[b"cache-control"]) == (part == "asset")
    assert b"'nonce-NONCE'" in dict(secured([], "page", nonce="NONCE", status=200))[b"content-security-policy"]
    assert dict(secured([], "asset", nonce="NONCE", status=404))[b"cache-control"] == b"no-store"


def test_a_page_gets_its_nonce_and_loses_its_paths():
    page = (
        '<link href="a.css"><script data-marimo="true">run()</script>'
        "<script>\n  if ('serviceWorker' in navigator) { register('/srv/x/apps/explore.py') }\n</script>"
        '<script type="module" src="./assets/i.js"></script><p>/srv/x/apps/explore.py</p>'
        '<i d="file:///srv/x&quot;, file:///srv/x/apps/explore.py">/srv/x</i>'
    )
    found = with_nonce(page, nonce="N", hidden=("/srv/x/apps/explore.py", "/srv/x/apps", "/srv/x"))
    assert "/srv" not in found
    assert "serviceWorker" not in found
    assert "<p>explore.py</p>" in found
    assert found.count('nonce="N"') == 3
    assert '<script nonce="N" type="module" src="./assets/i.js">' in found


def test_a_page_says_when_its_line_is_cut():
    found = with_nonce('<html><head></head><body><script src="a.js"></script></body></html>', nonce="N", hidden=())
    assert found.index("window.fetch") < found.index("a.js")
    assert found.count('<script nonce="N"') == 2
    assert "</script>" not in found[found.index("window.fetch") : found.index("})();")]


def test_a_page_follows_the_browser_light_or_dark_and_tells_nothing_of_services():
    given = {"display": {"theme": "light", "paths": ["/srv"]}, "ai": {"key": "secret"}}
    page = f'<marimo-user-config data-config="{escape(json.dumps(given))}" hidden></marimo-user-config>'
    found = with_nonce(page, nonce="N", hidden=())
    assert escape(json.dumps({"display": {"theme": "system"}})) in found
    assert "secret" not in found
