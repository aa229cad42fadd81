"""Passive checkers of the AXI rules: they drive nothing, and trust neither side.

What each of them asserts, at every rising edge of ``aclk``:

- VALID, READY and what VALID offers are never unknown;
- VALID stays until READY, and the payload stays with it;
- VALID is low in reset;
- a write response comes after its address and its data, a read response after its address;
- neither takes longer than `PATIENCE` clocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PATIENCE = 1_000
"""Bus clocks after which an answer is called overdue; no reset takes as long."""


class ProtocolError(AssertionError):
    """A rule of AXI was broken."""


class ChannelChecker:
    """Watch one VALID/READY handshake.

    Parameters
    ----------
    dut : object
        The top module's handle.
    name : str
        Prefix of VALID and READY.
    payload : tuple of str
        Suffixes of the signals that VALID offers.

    Attributes
    ----------
    count : int
        Transfers since the last reset.
    moved : dict or None
        What was transferred at this edge.
    """

    def __init__(self, dut: Any, name: str, payload: tuple[str, ...]):
        self.name = name
        self.count = 0
        self.moved: dict[str, int] | None = None
        self._valid = getattr(dut, f"{name}valid")
        self._ready = getattr(dut, f"{name}ready")
        self._payload = {suffix: getattr(dut, name + suffix) for suffix in payload}
        self._offered: dict[str, int] | None = None

    def sample(self, *, reset: int) -> None:
        """Look at the signals as they were before the edge; reset has been low for `reset` edges.

        At the first of them a side may still offer something, or no more.

        Raises
        ------
        ProtocolError
            If a rule is broken.
        """
        self.moved = None
        if reset:
            self.count, self._offered = 0, None
            if reset > 1 and self._known(self._valid, "VALID"):
                raise ProtocolError(f"{self.name}: VALID is high in reset")
            return
        valid, ready = self._known(self._valid, "VALID"), self._known(self._ready, "READY")
        offered = {s: self._known(h, s) for s, h in self._payload.items()} if valid else None
        if self._offered is not None and offered != self._offered:
            raise ProtocolError(
                f"{self.name}: {self._offered} was offered and not taken, now {offered} is"
            )
        self._offered = None if ready else offered
        if valid and ready:
            self.moved = offered
            self.count += 1

    @property
    def waits(self) -> bool:
        """Something is offered and not taken."""
        return self._offered is not None

    def _known(self, handle: Any, what: str) -> int:
        value = handle.value
        if not value.is_resolvable:
            raise ProtocolError(f"{self.name}: {what} is {value}")
        return int(value)


@dataclass(frozen=True)
class Packet:
    """Beats of one packet, and the clocks of the first and the last of them."""

    beats: tuple[dict[str, int], ...]
    first: int
    last: int


class StreamChecker:
    """Watch one AXI4-Stream and collect its packets.

    Attributes
    ----------
    channel : ChannelChecker
    packets : list of Packet
        Complete packets, whatever was reset meanwhile.
    partial : int
        Beats of the packet that has not ended.
    """

    def __init__(self, dut: Any, name: str, *, user: bool = False):
        suffixes = ("data", "last", "user") if user else ("data", "last")
        self.channel = ChannelChecker(dut, f"{name}_t", suffixes)
        self.packets: list[Packet] = []
        self._beats: list[dict[str, int]] = []
        self._first = 0

    @property
    def partial(self) -> int:
        """Beats of the packet that has not ended."""
        return len(self._beats)

    def restart(self) -> None:
        """Forget what has been collected."""
        self.packets.clear()
        self._beats = []

    def sample(self, clock: int, *, reset: int) -> None:
        """Look at the signals."""
        self.channel.sample(reset=reset)
        if reset:
            self._beats = []
        if (beat := self.channel.moved) is None:
            return
        if not self._beats:
            self._first = clock
        self._beats.append(beat)
        if beat["last"]:
            self.packets.append(Packet(tuple(self._beats), self._first, clock))
            self._beats = []


class LiteChecker:
    """Watch the five channels of an AXI4-Lite, and how long an access takes."""

    def __init__(self, dut: Any, name: str):
        payloads = {
            "aw": ("addr", "prot"),
            "w": ("data", "strb"),
            "b": ("resp",),
            "ar": ("addr", "prot"),
            "r": ("data", "resp"),
        }
        self._channels = {
            channel: ChannelChecker(dut, f"{name}_{channel}", suffixes)
            for channel, suffixes in payloads.items()
        }
        self._waiting = 0

    def sample(self, *, reset: int) -> None:
        """Look at the signals.

        Raises
        ------
        ProtocolError
            If a rule is broken.
        """
        asked = {name: channel.count for name, channel in self._channels.items()}
        for channel in self._channels.values():
            channel.sample(reset=reset)
        if reset:
            self._waiting = 0
            return
        done = {name: channel.count for name, channel in self._channels.items()}
        if done["b"] > min(asked["aw"], asked["w"]):
            raise ProtocolError("a write response came before its address and its data")
        if done["r"] > asked["ar"]:
            raise ProtocolError("a read response came before its address")
        answered = done["b"] == done["aw"] == done["w"] and done["r"] == done["ar"]
        offered = any(channel.waits for channel in self._channels.values())
        moves = any(channel.moved is not None for channel in self._channels.values())
        self._waiting = self._waiting + 1 if (offered or not answered) and not moves else 0
        if self._waiting > PATIENCE:
            raise ProtocolError(f"an access was not answered in {PATIENCE} clocks")
        for name in ("b", "r"):
            moved = self._channels[name].moved
            if moved is not None and moved["resp"] not in (0, 2):
                raise ProtocolError(f"response {moved['resp']}: only OKAY and SLVERR are given")
