"""Pieces of a page of HTML that stands alone: the house style, tables and lists, and a policy against all else."""

from __future__ import annotations

import base64
import hashlib
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import version

from explorer.text import fill, plain_text

# Colours, sizes and lists of every page that is saved; a page adds its own rules to it.
HOUSE_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --faint: #5d6670; --line: #c9ced6; --paper: #fff;
    --success: #15803d; --neutral: #786a4a; --danger: #b91c1c; --warn: #b45309; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e7eaee; --faint: #9aa1ab; --line: #454c56; --paper: #16191d;
    --success: #4ade80; --neutral: #c9b98f; --danger: #f87171; --warn: #fbbf24; }
}
@media print { :root { --ink: #000; --faint: #444; --line: #bbb; --paper: #fff;
    --success: #166534; --neutral: #5f5338; --danger: #991b1b; --warn: #92400e; } }
body { max-width: 46rem; margin: 2rem auto; padding: 0 1.2rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.05rem; margin: 0; font-weight: 600; color: var(--faint); }
h2 { font-size: 1.05rem; margin: 1.6rem 0 .4rem; }
.word { font-size: 2rem; font-weight: 700; line-height: 1.15; margin: .3rem 0 .5rem; }
.success { color: var(--success); } .neutral { color: var(--neutral); }
.danger { color: var(--danger); } .warn { color: var(--warn); }
code { font-size: .95em; }
.said { font-size: 1.1rem; font-weight: 600; margin: 0 0 .4rem; }
p, ul { margin: .3rem 0; }
ul { padding-left: 1.1rem; }
.faint { color: var(--faint); font-size: .85rem; }
table { border-collapse: collapse; width: 100%; font-size: .78rem; }
th, td { text-align: right; padding: .2rem .5rem; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
dl { display: grid; grid-template-columns: 10rem 1fr; gap: .2rem .8rem; font-size: .8rem; margin: .3rem 0; }
dt { color: var(--faint); } dd { margin: 0; overflow-wrap: anywhere; }
"""


def document(
    title: str, sections: Iterable[str], *, style: str, scripts: Sequence[str] = (), modules: Sequence[str] = ()
) -> str:
    """Write a whole document that loads nothing, and runs nothing but the scripts given.

    Parameters
    ----------
    title
        Title of the window; any text.
    sections
        HTML of our own making, in which every text from data is escaped already.
    style
        Its one style sheet.
    scripts, modules
        JavaScript of our own, classic scripts first and ES modules after them, behind the sections.

    Returns
    -------
    str
        HTML whose policy names the digest of each script and of the style, and forbids everything else: other
        scripts, ``eval``, styles in attributes, images, frames, forms and every connection.
    """
    inlined = [_unbroken(script) for script in (*scripts, *modules)]
    allowed = " ".join(["script-src", *map(_digest, inlined)]) if inlined else "script-src 'none'"
    policy = (
        f"default-src 'none'; style-src {_digest(style)}; {allowed}; connect-src 'none'; base-uri 'none'; "
        "form-action 'none'"
    )
    kinds = [""] * len(scripts) + [' type="module"'] * len(modules)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{plain_text(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        + "\n".join(sections)
        + "\n"
        + "".join(f"<script{kind}>{script}</script>\n" for kind, script in zip(kinds, inlined, strict=True))
        + "</body>\n</html>\n"
    )


def html_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table; every cell is text."""
    top = "".join(f"<th>{plain_text(cell)}</th>" for cell in header)
    body = "\n".join("<tr>" + "".join(f"<td>{plain_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table>\n<tr>{top}</tr>\n{body}\n</table>"


def definitions(rows: Iterable[tuple[str, str]]) -> str:
    """Write pairs of a name and a text, beside each other."""
    return (
        "<dl>\n"
        + "\n".join(fill("<dt>{name}</dt><dd>{text}</dd>", name=name, text=text) for name, text in rows)
        + "\n</dl>"
    )


def bullets(items: Iterable[str]) -> str:
    """Write a list of what is HTML already."""
    return "<ul>\n" + "\n".join(f"<li>{item}</li>" for item in items) + "\n</ul>"


def made_with() -> str:
    """Name the versions that made a page, in a line."""
    from explorer import __version__

    packages = (f"{name} {version(name)}" for name in ("numpy", "polars"))
    return ", ".join([f"explorer {__version__}", *packages, f"python {platform.python_version()}"])


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _unbroken(script: str) -> str:
    """Keep a script from ending early; both can only stand in its strings, where a backslash changes nothing."""
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")
