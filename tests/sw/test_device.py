"""Finding and opening devices, and what every device checks before its backend sees a call."""

import re
from importlib.metadata import EntryPoint

import numpy as np
import pytest

import upshift.device
from upshift.config import UnitConfig
from upshift.device import DeviceError, RefusedError
from upshift.device.model import ModelDevice
from upshift.formats import Fixed, bfloat16
from upshift.report import Refusal


def not_a_device(address, config, default):
    return "a screwdriver"


def points(monkeypatch, **targets):
    found = [EntryPoint(name, target, "upshift.devices") for name, target in targets.items()]
    monkeypatch.setattr(upshift.device, "entry_points", lambda group: found)


def test_known_devices():
    known = upshift.device.available()
    assert list(known) == sorted(known)
    assert known["model"] == "upshift.device.model:open_model"
    assert "rtl" in known


def test_the_default_is_for_devices_made_to_order_and_a_configuration_for_all(monkeypatch):
    small, other = UnitConfig(lanes=1, depth=16), UnitConfig(lanes=2, depth=16)
    for arguments, keywords, expected in (
        ((), {}, UnitConfig()),
        ((), {"default": small}, small),
        ((other,), {"default": small}, other),
    ):
        with upshift.device.open("model:", *arguments, **keywords) as device:
            assert device.config == expected

    def board(address, config, default):
        asked.append((address, config, default))
        return ModelDevice(other)

    asked = []
    points(monkeypatch, board="this:board")
    monkeypatch.setattr(EntryPoint, "load", lambda self: board)
    with upshift.device.open("board:///dev/here", default=small) as device:
        assert device.config == other
    assert asked == [("///dev/here", None, small)]


@pytest.mark.parametrize("url", ["", "model", "modell:", "serial", ":", "//model:"])
def test_unknown_schemes(url):
    with pytest.raises(
        ValueError, match=f"^{re.escape(repr(url))} names no device: allowed are model:, rtl:"
    ):
        upshift.device.open(url)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("model:5", "model: takes no address, got '5'"),
        ("model:?speed=9", "speed"),
        ("rtl:here", "rtl: takes no address, got 'here'"),
        ("rtl:?speed=9", "speed"),
        ("rtl:?fault=loud", "fault"),
        ("rtl:?fault", "fault"),
    ],
)
def test_unknown_addresses_and_options(url, message):
    with pytest.raises(ValueError, match=message):
        upshift.device.open(url)


def test_a_missing_package_is_named(monkeypatch):
    points(monkeypatch, far="upshift_is_not_here.device:open")
    with pytest.raises(
        DeviceError, match=r"far: needs the package upshift_is_not_here.*pip install"
    ):
        upshift.device.open("far:")


def test_what_is_not_a_device_is_refused(monkeypatch):
    points(monkeypatch, tool="this:not_a_device")
    monkeypatch.setattr(EntryPoint, "load", lambda self: not_a_device)
    with pytest.raises(DeviceError, match="tool: opened 'a screwdriver', which is not a Device"):
        upshift.device.open("tool:")


def test_refusals_name_their_causes():
    error = RefusedError(Refusal.FLOOR | Refusal.RANGE)
    assert error.refusal == Refusal.FLOOR | Refusal.RANGE
    assert str(error) == "the update unit refused the command: floor, range; no weight changed"
    assert isinstance(error, DeviceError)


def test_float_gradient_formats_on_the_model():
    config = UnitConfig(depth=8, weight=Fixed(8, 4), gradient=bfloat16)
    with upshift.device.open("model:", config) as device:
        report = device.update(0, [1.0, -1e39, 2.0**-140], rate=0, resolution=4)
        assert (report.elements, report.nonfinite, report.clipped) == (3, 1, 1)
        assert device.read(0, 3).tolist() == [-16, 0, 0]
        raw = np.array([0x3F80, 0xBF80, 0x7FC0], np.uint16)
        report = device.update(0, raw, rate=0, resolution=4)
        assert (report.elements, report.nonfinite, report.clipped) == (3, 1, 0)
        assert device.read(0, 3).tolist() == [-32, 16, 0]


class Recorder(ModelDevice):
    """Notes what reaches the backend."""

    def __init__(self, config):
        super().__init__(config)
        self.calls = []

    def _write(self, base, raw):
        self.calls.append(raw)
        super()._write(base, raw)

    def _submit(self, base, raw, rate, resolution):
        self.calls.append(raw)
        return super()._submit(base, raw, rate, resolution)

    def _raise_floor(self, resolution):
        self.calls.append(resolution)
        super()._raise_floor(resolution)


GOOD = {"rate": 0, "resolution": 4}


@pytest.mark.parametrize(
    "call",
    [
        lambda d: d.write(0, [[1]]),
        lambda d: d.write(-1, [1]),
        lambda d: d.write(0, []),
        lambda d: d.write(8, [1]),
        lambda d: d.write(0, [128]),
        lambda d: d.write(0, [np.nan]),
        lambda d: d.update(0, 1, **GOOD),
        lambda d: d.update(0, [1j], **GOOD),
        lambda d: d.update(0, [1], rate=32, resolution=4),
        lambda d: d.update(0, [1], rate=0, resolution=5),
        lambda d: d.raise_floor(5),
        lambda d: d.raise_floor(-1),
    ],
)
def test_a_call_that_raises_never_reaches_the_backend(call):
    device = Recorder(UnitConfig(depth=8, weight=Fixed(8, 4), gradient=Fixed(8, 4)))
    with pytest.raises((TypeError, ValueError)):
        call(device)
    assert device.calls == []
