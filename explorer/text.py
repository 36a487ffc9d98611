"""The one way for a string from data to reach a page: as text, never as markup."""

from __future__ import annotations

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
        character if character in _PLAIN or ord(character) > 159 else f"&#{_visible(character)};"
        for character in str(value)
    )


def _visible(character: str) -> int:
    # HTML forbids references to most control characters; they are shown as the replacement sign.
    code = ord(character)
    if character in "\n\r\t":
        return 32
    return code if 32 <= code <= 126 else 0xFFFD
