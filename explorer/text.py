"""The one way for a string from data to reach a page: as text, never as markup."""

from __future__ import annotations

import json
import math
import re

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ,;")
_NOT_IN_FILES = re.compile(r"[^A-Za-z0-9.]+")
_LONGEST_PART = 32
# A word of ours, and no name: names stand in quotes, before a colon or an equals sign, or are an alignment's own.
_FIRST_WORD = re.compile(r"(?!tvn\b)[a-z]+(?=,? (?!= )|$)")


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


def file_name(*parts: str) -> str:
    """Begin the name of a file with what it holds, in letters that every file system takes.

    Parameters
    ----------
    parts
        Any texts, each shortened to 32 characters, so that a long one leaves room for those behind it.

    Examples
    --------
    >>> file_name("TP53", "../skin & lung", "日本")
    'TP53-skin-lung'
    """
    plain = (_NOT_IN_FILES.sub("-", part)[:_LONGEST_PART].strip("-.") for part in parts)
    return "-".join(part for part in plain if part)


def as_sentence(notice: str) -> str:
    """Begin a notice with a capital letter, where it begins with a word and not with a name.

    Messages begin small, since a command line puts its own name before them; on a page they stand alone.

    Parameters
    ----------
    notice
        A message, or nothing.

    Examples
    --------
    >>> as_sentence("unknown query 'p53': did you mean 'TP53'?")
    "Unknown query 'p53': did you mean 'TP53'?"
    >>> as_sentence("'p53' is not in this map")
    "'p53' is not in this map"
    """
    return notice[:1].upper() + notice[1:] if _FIRST_WORD.match(notice) else notice


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
