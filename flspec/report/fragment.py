"""Pieces of HTML for notebooks: a line, a table and charts, in the colours of whatever page they end up on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from flspec.report.page import Figure, Table, environment
from flspec.report.palette import PALETTE

__all__ = ["Fragment", "render_fragment"]


@dataclass(frozen=True)
class Fragment:
    """What is shown of a result, or of several."""

    title: str
    line: str  # behind the title
    table: Table
    figure: Figure


def render_fragment(fragment: Fragment) -> str:
    """Return a `div` that needs nothing around it. Equal fragments are equal text."""
    prefix = f"flspec-{hashlib.sha256(repr(fragment).encode()).hexdigest()[:8]}"  # ids differ between a page's outputs
    template = environment().get_template("fragment.html.j2")
    return template.render(fragment=fragment, palette=PALETTE, prefix=prefix)
