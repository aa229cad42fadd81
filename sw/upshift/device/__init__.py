"""Devices: update units behind one API, found by URL.

    with upshift.device.open("rtl:", config) as device:
        device.write(0, weights)
        report = device.update(0, gradients, rate=4, resolution=7)
        weights = device.read(0, count)

``model:`` is the integer model, ``rtl:`` the generated gateware compiled to native code; both are
made to order. A board is what it is and brings its own configuration. Other packages add devices
through the entry-point group ``upshift.devices``.
"""

from __future__ import annotations

import inspect
from importlib.metadata import entry_points
from urllib.parse import parse_qsl

from upshift.config import UnitConfig
from upshift.device._device import Counters, Device, DeviceError, Pending, RefusedError

__all__ = [
    "Counters",
    "Device",
    "DeviceError",
    "Pending",
    "RefusedError",
    "available",
    "open",
]

_GROUP = "upshift.devices"
_DEFAULT = UnitConfig()
_EXTRAS = {"serial": "serial"}  # extra that brings a package, where it is not sim


def available() -> dict[str, str]:
    """Return the known URL schemes and the object that opens each."""
    return {point.name: point.value for point in sorted(entry_points(group=_GROUP))}


def open(  # noqa: A001  (as in io.open)
    url: str, config: UnitConfig | None = None, *, default: UnitConfig = _DEFAULT
) -> Device:
    """Open the device at `url`.

    Parameters
    ----------
    url : str
        ``scheme:address?option=value``, such as ``model:`` or ``rtl:``.
    config : UnitConfig, optional
        The unit that it has to be. Left out, a board may be any unit: see ``device.config``.
    default : UnitConfig
        What devices made to order become when `config` is left out; boards ignore it.

    Raises
    ------
    ValueError
        If the scheme or an option is unknown.
    DeviceError
        If the device cannot be opened here, or is not the unit it has to be. The message says
        what is missing.
    """
    scheme, colon, rest = url.partition(":")
    points = {point.name: point for point in entry_points(group=_GROUP)}
    if not colon or scheme not in points:
        allowed = ", ".join(f"{name}:" for name in sorted(points))
        raise ValueError(f"{url!r} names no device: allowed are {allowed}")
    address, _, query = rest.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    try:
        opener = points[scheme].load()
        known = list(inspect.signature(opener).parameters.values())[3:]
        names = [parameter.name for parameter in known]
        takes_any = any(parameter.kind == parameter.VAR_KEYWORD for parameter in known)
        for option in options:
            if option not in names and not takes_any:
                raise ValueError(f"{scheme}: has no option {option!r}: allowed are {names}")
        device = opener(address, config, default, **options)
    except ImportError as error:
        raise DeviceError(
            f"{scheme}: needs the package {error.name}, which is not installed: "
            f"pip install 'upshift[{_EXTRAS.get(str(error.name), 'sim')}]'"
        ) from error
    if not isinstance(device, Device):
        raise DeviceError(f"{scheme}: opened {device!r}, which is not a Device")
    return device
