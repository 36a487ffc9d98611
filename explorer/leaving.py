"""What a page leaves behind when it is gone, taken away."""

from __future__ import annotations

import weakref
from typing import Any


class ClosedWithPage:
    """Held by a page, and by nothing else: closes a widget when the page is gone.

    ipywidgets lists every widget of a process, and marimo the connection of each, until it is closed; at the end of a
    session nobody does. A page of a hundred thousand names would then stay in memory for as long as the server runs.

    Parameters
    ----------
    widget
        An ipywidgets widget of that page.
    """

    __slots__ = ("__weakref__",)

    def __init__(self, widget: Any) -> None:
        # The sizes of a widget are a widget of their own.
        for part in (widget, widget.layout):
            weakref.finalize(self, part.close).atexit = False
