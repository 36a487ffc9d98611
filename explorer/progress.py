"""How a page shows work that takes longer: how far it is, how to end it, and why there is no result."""

from __future__ import annotations

from typing import Any

from explorer.digits import width_of
from explorer.text import as_sentence, fill
from explorer.work import Ticket

_BAR = (
    "<div role='progressbar' aria-valuenow='{share}' aria-valuemax='1' style='width: 16rem; height: 8px; "
    "border-radius: 4px; background: #9AA1AB55'><div style='width: {width}; height: 8px; border-radius: 4px; "
    "background: #2F86C9'></div></div>"
)


def progress_of(ticket: Ticket[Any], clock: Any, cancel_button: Any, *, heading: str) -> Any:
    """Show how far a piece of work is.

    Parameters
    ----------
    ticket
        Of the work.
    clock
        A ``mo.ui.refresh``: asks again while it is shown. It must be made by the cell that begins the work, or a tick
        could come when the work is gone.
    cancel_button
        Ends it.
    heading
        What the work is for.
    """
    import marimo as mo

    bar = mo.md(fill(_BAR, share=ticket.share, width=width_of(ticket.share)))
    # Ticks unseen: shown, it looks like another control.
    parts = [bar, mo.md(fill("{what}", what=ticket.what)), cancel_button, clock.style({"display": "none"})]
    return mo.vstack(
        [mo.md(fill("## {heading}", heading=heading)), mo.hstack(parts, justify="start", align="center", gap=1)]
    )


def problem_of(ticket: Ticket[Any]) -> Any:
    """Say why a piece of work has no result."""
    import marimo as mo

    return mo.callout(mo.md(fill("{problem}", problem=as_sentence(ticket.problem))), kind="warn")
