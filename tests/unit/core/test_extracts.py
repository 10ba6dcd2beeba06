"""What a class or function of a script or notebook needs, and no more, becomes a text that works by itself."""

from __future__ import annotations

import linecache
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from flspec.core.extracts import chunks_of, extracted, text_of
from flspec.errors import InputError
from tests.unit.core.notebooks import notebook, run_cell


def taken(module: ModuleType, *names: str) -> str:
    return text_of([chunk for name in names for chunk in extracted(module, name)], "a heading")


def worked(text: str) -> dict[str, Any]:
    """The names of a text that is run by itself."""
    values: dict[str, Any] = {"__name__": "elsewhere"}
    exec(compile(text, "elsewhere", "exec", dont_inherit=True), values)
    return values


CELLS = (
    "import math\nimport os.path, json as j\nfrom pathlib import Path as P, PurePath\nWIDTH = 4 * 4\nx = object()\n",
    "def half(x):\n    return x / 2\n\ndef area(x=WIDTH):\n    y = half(x)\n"
    "    return math.pi * y ** 2 + len(j.dumps([P('a').name]))\n",
)


def test_a_text_has_what_is_needed_and_gives_the_same() -> None:
    module = notebook(*CELLS)
    text = taken(module, "area")
    assert worked(text)["area"]() == module.area()
    assert text == (
        "# a heading\n\nfrom pathlib import Path as P\nimport json as j\nimport math\n\nWIDTH = 16\n\n"
        "def area(x=WIDTH):\n    y = half(x)\n    return math.pi * y ** 2 + len(j.dumps([P('a').name]))\n\n"
        "def half(x):\n    return x / 2\n"
    )
    assert text_of(chunks_of(text), "a heading") == text


def test_what_stands_elsewhere_changes_nothing() -> None:
    first, second = CELLS
    other = f"{first.replace('4 * 4', '16  # wide')}\nprint = 3\n", f"half = None\n\n{second}x = y = open\n"
    swapped = (
        CELLS[0],
        "def area(x=WIDTH):" + second.partition("def area(x=WIDTH):")[2] + "\n" + second.partition("\ndef a")[0],
    )
    for cells in (other, swapped):
        assert taken(notebook(*cells), "area") == taken(notebook(*CELLS), "area")
    for before, after in (("/ 2", "/ 3"), ("half(x)\n ", "half(x)  # a comment\n "), ("math.pi *", "3 *")):
        assert taken(notebook(first, second.replace(before, after)), "area") != taken(notebook(*CELLS), "area")
    assert taken(notebook(first.replace("4 * 4", "17"), second), "area") != taken(notebook(*CELLS), "area")


def test_a_name_counts_only_where_it_is_looked_up() -> None:
    module = notebook(
        "big = open\nother = object()\ndef f(big):\n    other = big\n    return [other for other in big]\n"
    )
    assert taken(module, "f") == "# a heading\n\ndef f(big):\n    other = big\n    return [other for other in big]\n"


VALUES = {
    "a list": "[1, -2.5, None, 'x', b'y', 1j, (True,), {'a': {1: 2}}]",
    "not finite": "(float('inf'), -float('inf'))",
    "sets": "({'b', 'a'}, frozenset({1, 2}), set())",
    "computed": "sorted(open(__import__('os').devnull).read()) + [3]",
    "an array": "__import__('numpy').linspace(0, 1, 7).astype('float32')",
    "a number of numpy's": "__import__('numpy').float32(0.1)",
}


@pytest.mark.parametrize("written", sorted(VALUES))
def test_a_constant_has_the_value_that_it_has_now(written: str) -> None:
    module = notebook(f"C = {VALUES[written]}\nD = 0\ndef f():\n    return C, D\n", "D += 5")
    again, before = worked(taken(module, "f"))["f"](), module.f()
    assert type(again[0]) is type(before[0])
    assert np.array_equal(again[0], before[0]) if hasattr(before[0], "dtype") else again[0] == before[0]
    assert again[1] == 5


def test_a_set_is_written_alike_in_every_process() -> None:
    module = notebook("C = {str(number) for number in range(50)}\ndef f():\n    return C\n")
    assert str([str(number) for number in sorted(map(str, range(50)))])[1:-1] in taken(module, "f")


def test_statements_that_call_nothing_impure_are_taken_as_they_stand() -> None:
    text = (
        "import re, logging\nfrom collections import namedtuple\nfrom typing import TypeVar\nfrom enum import Enum\n"
        "T = TypeVar('T')\nPair = namedtuple('Pair', 'a b')\nword = re.compile('[a-z]+')\nshort = lambda x: x[:2]\n"
        "log = logging.getLogger(__name__)\nclass Color(Enum):\n    RED = 1\nBEST: Color = Color.RED\n"
        "def f(x):\n    return Pair(short(word.match(x)[0]), BEST.value)\n"
    )
    again = worked(taken(notebook(text), "f"))
    assert tuple(again["f"]("abc1")) == ("ab", 1)
    assert "log" not in again
    assert "T" not in again


WRONG = {
    "a long array": (
        "import numpy as np\nC = np.zeros(1001)",
        r"^C, which f uses, \(.*:2\) is a ndarray that only this p",
    ),
    "a file": (
        "C = open(__import__('os').devnull)",
        r"\(.*:1\) is a TextIOWrapper that only this process has; give what",
    ),
    "a draw": ("import random\nC = random.Random(3)", r"is a Random that only this process has"),
    "of a loop": ("for C in [object()]:\n    pass", r"is a object that only this process has"),
    "two ways": ("import re\nC = re.compile('a')\nC = re.compile('b')", r"\(.*:3\) is a Pattern that only this"),
    "decorated by what is computed": ("C = (lambda g: g)(len)\nC = [C]", r"is a list that only this process has"),
    "made in a call": ("def make():\n    class A: pass\n    return A\nC = make()", r"is a type that only this process"),
    "no longer so": ("def C():\n    pass\nC = globals().__setitem__('C', object()) or C", r"only this process has"),
}


@pytest.mark.parametrize("slip", sorted(WRONG))
def test_what_no_text_can_give_is_refused_by_its_name(slip: str) -> None:
    module = notebook(WRONG[slip][0] + "\ndef g():\n    return C\ndef f():\n    return g()\n")
    with pytest.raises(InputError, match=WRONG[slip][1].replace("which f uses", "which g uses")) as refused:
        extracted(module, "f")
    assert "\n" not in str(refused.value)


def test_a_value_that_is_not_what_its_statement_made_is_refused() -> None:
    for text in ("def C():\n    pass", "import json as C", "class C:\n    def m(self): pass"):
        module = notebook(f"{text}\ndef f():\n    return C\n")
        vars(module)["C"] = object()
        with pytest.raises(InputError, match="is a object, and no longer what that line made; start anew"):
            extracted(module, "f")


def test_the_script_s_own_path_is_refused() -> None:
    module = notebook("def f():\n    return __file__, __name__\n")
    vars(module)["__file__"] = "gone.py"
    with pytest.raises(InputError, match="__file__, which f uses, is another file's once this is imported elsewhere"):
        extracted(module, "f")


def test_what_is_needed_at_once_comes_first_and_circles_are_no_matter() -> None:
    text = (
        "def a_wrap(of):\n    return of\nclass Z:\n    def m(self):\n        return A()\n@a_wrap\ndef y(z=Z()):\n"
        "    return z\nclass A(Z):\n    made = y()\n    def n(self):\n        return Z()\n"
    )
    again = worked(taken(notebook(text), "A"))
    assert isinstance(again["A"].made.m().n(), again["Z"])


def test_a_cell_that_is_run_again_counts_and_not_the_one_before() -> None:
    module = notebook("class A:\n    x = 1\nclass B(A):\n    pass\ndef f(): return B.x\n", "class A:\n    x = 2\n")
    assert worked(taken(module, "f"))["f"]() == 2
    run_cell(module, "def f():\n    return 7\n")
    assert worked(taken(module, "f"))["f"]() == 7


def test_every_form_of_import_gives_its_name_alone() -> None:
    text = (
        "import xml.dom, xml.sax\nfrom os.path import *\ntry:\n    import no_such_module as q\nexcept ImportError:\n"
        "    import json as q\nif True:\n    from typing import (Any,\n        Literal)\n"
        "def f(x: Any) -> 'Literal[3]':\n    import math\n    return xml.dom, xml.sax, join, q, math\n"
    )
    imports = taken(notebook(text), "f").split("\n\n")[1].splitlines()
    assert imports == [
        "from os.path import join",
        "from typing import Any",
        "from typing import Literal",
        "import json as q",
        "import xml.dom",
        "import xml.sax",
    ]


def test_what_a_magic_has_imported_is_imported_by_its_own_name() -> None:
    module = notebook("def f():\n    return js.dumps(urljoin('a', 'b'))\n")
    from json import dumps
    from urllib.parse import urljoin

    vars(module).update(js=sys.modules[dumps.__module__], urljoin=urljoin)
    assert "from urllib.parse import urljoin as urljoin\nimport json as js\n" in taken(module, "f")
    vars(module)["js"] = {}.get
    with pytest.raises(InputError, match="js, which f uses, is a builtin_function_or_method that only this"):
        extracted(module, "f")


def test_annotations_stay_unevaluated_where_they_were() -> None:
    text = "from __future__ import annotations\nclass A:\n    x: B\n    def m(self) -> B: ...\nclass B:\n    pass\n"
    assert taken(notebook(text), "A").startswith("# a heading\n\nfrom __future__ import annotations\n\nclass B:")
    assert worked(taken(notebook(text), "A"))["A"].__annotations__ == {"x": "B"}
    assert "class B" not in taken(notebook(text.replace("B:\n    pass", "C: pass")), "A")


SCRIPT = "import sys\nclass A:\n    def m(self):\n        return 1\n"


def test_a_script_that_was_changed_since_it_began_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    module = ModuleType("__main__")
    module.__file__ = str(path)
    exec(compile(SCRIPT, str(path), "exec", dont_inherit=True), vars(module))
    assert "return 1" in taken(module, "A")
    path.write_text(SCRIPT + "# what stands elsewhere is no matter\n")
    assert "return 1" in taken(module, "A")
    path.write_text(SCRIPT.replace("return 1", "return 2"))
    linecache.clearcache()
    with pytest.raises(
        InputError, match=r"A \(.*script.py:2\) is not what its file says by now; start the script again"
    ):
        extracted(module, "A")


def test_nothing_is_known_of_what_is_typed_at_a_prompt() -> None:
    code = "from flspec.core.extracts import extracted\nimport __main__\nclass A:\n    def m(self): pass\n"
    code += "extracted(__main__, 'A')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].endswith(
        "A is a type that only this process has; give it as a parameter, or put all of it into a file of parts"
    )
