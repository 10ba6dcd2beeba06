"""A conversion from matplotlib's SVG file to a piece of a page.

Unlike a file, a piece must not share ids with its siblings, set styles for the whole page, or fix colours that dark
mode changes.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

from markupsafe import Markup

from flspec.report.palette import PALETTE

__all__ = ["embed"]

_VARIABLES = {light: f"var(--{name}, {light})" for name, (light, _) in PALETTE.items()}
_COLOR = re.compile("|".join(_VARIABLES))
_REFERENCE = re.compile(r"(url\(#|^#)")
_FONT_FAMILY = re.compile(r"font-family:[^;]*;?")
_FONT = re.compile(r"font:[^;]*?([\d.]+px)[^;]*")  # one property for all, before matplotlib 3.11


def embed(svg: str, prefix: str, label: str) -> Markup:
    """Return the drawing as inline SVG: ids begin with `prefix`, colours follow the page,
    screen readers read `label`.
    """
    root = ElementTree.fromstring(svg)
    for parent in root.iter():
        for child in [c for c in parent if _local(c.tag) in ("metadata", "style")]:
            parent.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {_local(key): _adapt(_local(key), value, prefix) for key, value in element.attrib.items()}
    for fixed in ("width", "height"):  # the page decides the size; viewBox keeps the proportions
        root.attrib.pop(fixed)
    root.attrib |= {"role": "img", "aria-label": label}
    return Markup(ElementTree.tostring(root, encoding="unicode"))  # serialising has escaped it


def _local(name: str) -> str:
    """Return a name without its namespace, which HTML supplies."""
    return name.rpartition("}")[2]


def _adapt(key: str, value: str, prefix: str) -> str:
    if key == "id":
        return prefix + value
    if key == "style":
        value = _FONT.sub(r"font-size: \1", _FONT_FAMILY.sub("", value))
        value = _COLOR.sub(lambda found: _VARIABLES[found[0]], value)
    return _REFERENCE.sub(rf"\1{prefix}", value) if key in ("style", "href", "clip-path") else value
