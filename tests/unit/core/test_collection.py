"""Imports without the search for garbage."""

from __future__ import annotations

import gc
import sys

import pytest

from flspec.core.collection import nothing_collected


@pytest.mark.parametrize("was_enabled", [True, False])
def test_garbage_is_looked_for_again_only_if_it_was_before(was_enabled):
    before = gc.isenabled()
    (gc.enable if was_enabled else gc.disable)()
    try:
        with nothing_collected():
            assert not gc.isenabled()
        assert gc.isenabled() == was_enabled
    finally:
        (gc.enable if before else gc.disable)()


def test_only_what_an_import_made_is_taken_for_no_garbage():
    before = gc.get_freeze_count()
    with nothing_collected():
        pass
    assert gc.get_freeze_count() == before
    try:
        with nothing_collected():
            sys.modules["imported_by_a_test"] = gc
        assert gc.get_freeze_count() > before
    finally:
        del sys.modules["imported_by_a_test"]
        if not before:
            gc.unfreeze()


def test_garbage_is_looked_for_again_after_an_import_that_fails():
    with pytest.raises(ImportError), nothing_collected():
        raise ImportError
    assert gc.isenabled()
