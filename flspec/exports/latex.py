"""A table for a paper in LaTeX."""

from __future__ import annotations

import re
from collections.abc import Iterable

from flspec.exports.base import PaperTable
from flspec.measurements.summary import Summary

__all__ = ["Latex"]

_SIGNS = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"{\char34}",  # which some languages' packages give a meaning
    "`": r"\textasciigrave{}",
    "[": "{[}",  # which, as a star, means something after the end of a line
    "*": "{*}",
    "±": r"$\pm$",
    "−": "$-$",
    "…": r"\dots{}",
}


class Latex(PaperTable):
    """A table by booktabs, with its caption."""

    def render(self, summary: Summary) -> str:
        numbers = len(summary.columns) - summary.num_axes
        return "\n".join(
            [
                r"% needs \usepackage{booktabs}",
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{'; '.join(map(_escaped, (summary.title, *summary.notes)))}.}}",
                rf"\begin{{tabular}}{{{'l' * summary.num_axes}{'r' * numbers}}}",
                r"\toprule",
                _line(summary.columns),
                r"\midrule",
                *map(_line, summary.rows),
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
                "",
            ]
        )


def _line(cells: Iterable[str]) -> str:
    return " & ".join(map(_escaped, cells)) + r" \\"


def _escaped(text: str) -> str:
    """Return a text that is set as it is."""
    signs = "".join(_SIGNS.get(sign, sign) for sign in text)
    return re.sub("-(?=-)", "-{}", signs)  # several would become one dash
