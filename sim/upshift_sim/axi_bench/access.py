"""Accesses to the registers, by name or by address, as software makes them."""

from __future__ import annotations

from typing import Any

from cocotbext.axi import AxiLiteMaster, AxiResp

from upshift import registers
from upshift.registers import Register

PATIENCE = 4_000
"""Bus clocks after which what is waited for is called overdue."""
EVERYTHING = 0xFFFF_FFFF
TABLE: dict[str, Register] = registers.BY_NAME | registers.SHELL_BY_NAME


class MismatchError(AssertionError):
    """Something is not what it must be."""


def require(condition: bool, message: str) -> None:
    """Raise a `MismatchError` unless a condition holds."""
    if not condition:
        raise MismatchError(message)


class Registers:
    """The registers of the unit and of the shell, by AXI4-Lite.

    Parameters
    ----------
    master : AxiLiteMaster
    """

    def __init__(self, master: AxiLiteMaster):
        self._master: Any = master

    async def access(self, address: int) -> tuple[int, bool]:
        """Read a byte address; return the word and whether it was answered as an error."""
        answer = await self._master.read(address, 4)
        return int.from_bytes(answer.data, "little"), answer.resp != AxiResp.OKAY

    async def read(self, name: str) -> int:
        """Return a register."""
        word, error = await self.access(4 * TABLE[name].address)
        require(not error, f"register {name} was answered as an error")
        return word

    async def poll(self, name: str, mask: int, what: str, *, clear: bool = False) -> int:
        """Read a register until some bit of `mask` is set, or until all of them are clear."""
        for _ in range(PATIENCE // 20):
            if bool((word := await self.read(name)) & mask) != clear:
                return word
        raise MismatchError(f"waited too long {what}, {name} is {word:#x}")

    async def read_field(self, name: str, part: str) -> int:
        """Return a field of a register."""
        found = next(f for f in TABLE[name].fields if f.name == part)
        return (await self.read(name) >> found.offset) & ((1 << found.width) - 1)

    async def write(self, name: str, value: int) -> None:
        """Write a register."""
        error = await self.write_bytes(4 * TABLE[name].address, value.to_bytes(4, "little"))
        require(not error, f"register {name} was answered as an error")

    async def write_bytes(self, address: int, data: bytes) -> bool:
        """Write some bytes within a word; return whether that was answered as an error."""
        answer = await self._master.write(address, data)
        return bool(answer.resp != AxiResp.OKAY)
