"""How tests see small tensors as the large ones that they stand for."""

import pytest

from upshift.optim import _native, _pass


@pytest.fixture
def small_pieces(monkeypatch):
    """Divide tensors into pieces that tests can afford."""
    monkeypatch.setattr(_pass, "_LONGEST", 1 << 16)


@pytest.fixture
def no_code_yet():
    """Forget native code, before and after."""
    _native.code.cache_clear()
    yield
    _native.code.cache_clear()
