"""The one way for a string from data to reach a page: as text, never as markup."""

from __future__ import annotations

import json
import math

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ,;")


def plain_text(value: object) -> str:
    """Escape a value so that HTML and Markdown both show it as the text it is.

    Every ASCII character that means something to either (angle brackets, quotes, asterisks, backticks,
    dollar signs, line breaks …) becomes a numeric character reference; other scripts stay as they are.

    Parameters
    ----------
    value
        Anything; it is turned into a string first.

    Returns
    -------
    str
        Safe inside ``mo.md`` and ``mo.Html``, between tags and inside a quoted attribute.

    Examples
    --------
    >>> plain_text("<b>TP53</b>")
    '&#60;b&#62;TP53&#60;&#47;b&#62;'
    """
    return "".join(
        character if character in _PLAIN or _is_other_script(character) else f"&#{_visible(character)};"
        for character in str(value)
    )


def fill(template: str, /, **values: object) -> str:
    """Fill a template of our own Markdown with values from data, each escaped by `plain_text`.

    Parameters
    ----------
    template
        Text written in this project, with ``{name}`` where a value goes.
    **values
        The values; anything.

    Examples
    --------
    >>> fill("**{query}** has {k} neighbours", query="<i>TP53</i>", k=10)
    '**&#60;i&#62;TP53&#60;&#47;i&#62;** has 10 neighbours'
    """
    return template.format_map({name: plain_text(value) for name, value in values.items()})


def _is_other_script(character: str) -> bool:
    # Line separators break lines, and half a surrogate pair can't be sent at all.
    return ord(character) > 159 and character not in "\u2028\u2029" and not "\ud800" <= character <= "\udfff"


def _visible(character: str) -> int:
    # HTML forbids references to most control characters; they are shown as the replacement sign.
    code = ord(character)
    if character in "\n\r\t\u2028\u2029":
        return 32
    return code if 32 <= code <= 126 else 0xFFFD


def json_text(value: object) -> str:
    """Write a value as JSON, what is not defined as null, in ASCII alone: names may hold control characters."""
    return json.dumps(_without_nan(value), indent=2, allow_nan=False) + "\n"


def script_json(value: object) -> str:
    r"""Write a value as compact JSON that nothing can break out of inside ``<script type="application/json">``.

    Parameters
    ----------
    value
        Texts, numbers, lists and dictionaries; what is not defined becomes null.

    Examples
    --------
    >>> script_json({"name": "</script>"})
    '{"name":"\\u003c/script\\u003e"}'
    """
    text = json.dumps(_without_nan(value), allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _without_nan(value: object) -> object:
    # json writes NaN, which is not JSON.
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value
