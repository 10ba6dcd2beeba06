"""Parts in a run's folder, in lists and schema, of each other's files, and of code that is not beside the spec."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import flspec
from flspec.aggregators import Aggregator
from flspec.comparison.experiments import difference
from flspec.compiler.acting_parts import check_code
from flspec.core.components import family_members
from flspec.core.part_files import using
from flspec.core.part_sources import loose_digest
from flspec.errors import InputError, SpecError
from flspec.protocol.settings import PartSettings
from flspec.spec.loading import load_spec
from flspec.spec.parts import using_parts_of_file
from flspec.spec.schema import spec_schema
from flspec.spec.sections import find_section
from flspec.spec.trust import trust
from tests.unit.spec.part_specs import PART, SPEC, write


def test_the_spec_in_a_run_folder_runs_by_itself_and_so_does_that_of_a_cell(tmp_path):
    spec = load_spec(write(tmp_path / "a"))
    first = flspec.run(spec, out=tmp_path / "run")
    cells = flspec.run(spec.with_matrix(seeds=[1]), out=tmp_path / "cells")
    for path in (tmp_path / "a").iterdir():
        path.unlink()
    for ran in (first, cells[0]):
        again = flspec.run(ran.folder / "spec.yaml", out=tmp_path / f"{ran.folder.name}-again")
        assert (again.plan_digest, again.weights) == (ran.plan_digest, ran.weights)


def test_part_files_below_the_spec_are_below_it_in_the_run_folder(tmp_path):
    path = write(tmp_path, spec=SPEC.replace("my_parts.py", "below/my_parts.py"))
    (tmp_path / "below").mkdir()
    (tmp_path / "my_parts.py").rename(tmp_path / "below" / "my_parts.py")
    ran = flspec.run(path, out=tmp_path / "run")
    assert (ran.folder / "below" / "my_parts.py").read_text() == PART
    assert (ran.folder / "factors.py").is_file()
    assert flspec.compile(ran.folder / "spec.yaml").digest == ran.plan_digest


@pytest.mark.parametrize("name", ["../above.py", "/tmp/above.py", "plan/x-y.py", "x.txt", "a/../../above.py"])
def test_a_plan_from_anybody_writes_no_file_outside_of_the_run_folder(tmp_path, name):
    plan = flspec.compile(write(tmp_path / "a"))
    assert plan.settings.parts
    sources = {**plan.settings.parts.sources, name: ""}
    forged = replace(plan, settings=replace(plan.settings, parts=PartSettings(("my_parts.py",), sources)))
    with pytest.raises(InputError, match=r"the plan's parts name a file '.*'; compile its spec again"):
        flspec.run(forged, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


ELSEWHERE = PART.replace("import factors", "import elsewhere.factors as factors")


def test_code_that_is_neither_beside_the_spec_nor_installed_is_in_the_digest(tmp_path, monkeypatch):
    package = tmp_path / "lib" / "elsewhere"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "factors.py").write_text("import behind\nFACTOR = behind.FACTOR\n")
    (tmp_path / "lib" / "behind.py").write_text("FACTOR = 0.5\n")
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    path = write(tmp_path / "a", ELSEWHERE)
    plan = flspec.compile(path)
    assert list(plan.settings.code) == ["parts: import elsewhere"]
    check_code(plan.settings)
    loose_digest.cache_clear()
    (tmp_path / "lib" / "behind.py").write_text("FACTOR = 0.25\n")
    with pytest.raises(InputError, match="parts: import elsewhere: the code of its package is not what it was when"):
        check_code(plan.settings)
    assert flspec.compile(path).digest != plan.digest


def test_what_is_installed_is_no_code_of_the_plan(tmp_path):
    assert flspec.compile(write(tmp_path, f"import numpy, json, pydantic\n{PART}")).settings.code == {}


@pytest.mark.parametrize("call", ["importlib.import_module('factors')", "__import__('factors')"])
def test_a_file_beside_the_spec_is_imported_by_a_statement_alone(tmp_path, call):
    with pytest.raises(SpecError, match=r"my_parts.py:\d+: factors is imported by a call, .*; write import factors"):
        load_spec(write(tmp_path, f"{PART}\nimport importlib\nfactors = {call}\n"))


def test_parts_import_each_other(tmp_path):
    path = write(tmp_path, spec=SPEC.replace("[my_parts.py]", "[my_parts.py, others.py]"))
    (tmp_path / "others.py").write_text("import my_parts\nclass Twice(my_parts.Scaled):\n    kind: str = 'twice'\n")
    (tmp_path / "factors.py").write_text("def factor():\n    import others\n    return others.my_parts\nFACTOR = 0.5\n")
    with using(load_spec(path).part_files):
        kinds = family_members(Aggregator)
        assert kinds["twice"].__mro__[1] is kinds["scaled"]


def test_lists_and_the_schema_know_the_parts_of_a_spec(tmp_path):
    path = write(tmp_path)
    with using_parts_of_file(path):
        aggregator, metrics = find_section("aggregator").kinds["scaled"], find_section("metrics").kinds
        schema = json.dumps(spec_schema())
    assert (aggregator.summary, aggregator.package) == ("The mean, times a factor.", "my_parts.py")
    assert metrics["misses"].package == "my_parts.py"
    assert "The mean, times a factor." in schema
    assert '"misses"' in schema
    assert "scaled" not in find_section("aggregator").kinds
    assert "The mean, times a factor." not in json.dumps(spec_schema())
    assert '"misses"' not in json.dumps(spec_schema())


def test_a_run_folder_from_a_clone_is_compared_only_where_it_is_trusted(tmp_path, monkeypatch):
    monkeypatch.setenv("FLSPEC_CACHE", str(tmp_path / "cache"))
    path = write(tmp_path / "mine")
    plan = flspec.compile(write(tmp_path / "a", factor="FACTOR = 0.25\n"))
    plan.save(tmp_path / "b" / "plan")
    (tmp_path / "b" / ".git").mkdir()
    (tmp_path / "b" / ".git" / "config").write_text('[remote "origin"]\n\turl = https://example.org/x\n')
    with pytest.raises(InputError, match=r"it would import factors.py, my_parts.py, .* was cloned from elsewhere"):
        difference(path, tmp_path / "b" / "plan")
    trust(tmp_path / "b")
    (part,) = (one for one in difference(path, tmp_path / "b" / "plan").parts if one.name == "files of parts")
    assert part.what == "factors.py"
