"""Encodings of the columns of a table. A column has one, or a list of them, each of which works on what the last gave.

Tokenizers are encodings, too: of a text they make token numbers, which are all that a model of texts gets.

In a spec an encoding is its kind alone (`standardise`), a mapping of its kind to its main parameter (`{impute:
median}`), or a mapping with `kind` and all parameters.
"""

from flspec.core.families import register_family
from flspec.encodings.base import Column, Encoding, Unencodable
from flspec.encodings.steps import MOST_STEPS, Steps, line_for, parse_steps, takes_of, write_steps
from flspec.encodings.texts import Text, text_of
from flspec.encodings.tokenizer import Tokenizer, Vocabulary

register_family(__name__, __path__)

__all__ = [
    "MOST_STEPS",
    "Column",
    "Encoding",
    "Steps",
    "Text",
    "Tokenizer",
    "Unencodable",
    "Vocabulary",
    "line_for",
    "parse_steps",
    "takes_of",
    "text_of",
    "write_steps",
]
