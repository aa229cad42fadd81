"""Compiled units are built once per test run, away from the user's own cache."""

import os

import platformdirs
import pytest
from amaranth.hdl import Elaboratable

# Yosys keeps its own machine code in the user's cache, and takes a minute to make it anew: tests
# that move the cache of compiled units must not move that one.
os.environ.setdefault("YOWASP_CACHE_DIR", platformdirs.user_cache_dir("YoWASP", appauthor=False))

# A component whose constructor refuses its arguments is never elaborated, and that is no mistake.
Elaboratable._MustUse__silence = True


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory):
    """Directory that all workers of a test run share."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if own.name.startswith("popen-") else own
    return shared / "compiled-units"


@pytest.fixture
def cache(monkeypatch, shared_cache):
    """Let compiled units be cached in the shared directory."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared_cache))
    return shared_cache
