"""Scenarios for the registers themselves: identity, errors, strobes, and what can be written."""

from __future__ import annotations

import cocotb

from upshift import registers
from upshift.registers import AXI_BYTES
from upshift_sim.axi_bench.access import EVERYTHING, TABLE, require
from upshift_sim.axi_bench.bench import AxiBench


async def register_rules(bench: AxiBench) -> None:
    """Check identity, errors of addresses, strobes, and what can be written and what cannot."""
    for name, value in registers.identity(bench.config).items():
        await bench.registers.write(name, ~value & EVERYTHING)
        require(await bench.registers.read(name) == value, f"register {name} is not {value:#x}")
    mapped = {register.address for register in TABLE.values()}
    for word in range(AXI_BYTES // 4):
        got, error = await bench.registers.access(4 * word)
        require(error == (word not in mapped), f"address {4 * word:#x} was answered wrongly")
        require(not error or got == 0, f"address {4 * word:#x} has no register and reads {got:#x}")
    unmapped = next(w for w in range(AXI_BYTES // 4) if w not in mapped)
    require(
        await bench.registers.write_bytes(4 * unmapped, bytes(4)), "a write to no register was OKAY"
    )

    count = 4 * TABLE["count"].address
    await bench.registers.write("count", 0x11223344)
    await bench.registers.write_bytes(count + 1, b"\xaa")
    require(await bench.registers.read("count") == 0x1122AA44, "a strobe of one byte wrote others")
    await bench.registers.write_bytes(count + 2, b"\xbb\xcc")
    require(await bench.registers.read("count") == 0xCCBBAA44, "strobes of two bytes wrote others")
    for byte in range(4):
        await bench.registers.write("count", 0)
        await bench.registers.write_bytes(count + byte, b"\xff")
        require(
            await bench.registers.read("count") == 0xFF << 8 * byte,
            f"byte {byte} is not written alone",
        )
    await _writable_bits(bench)
    start = 4 * TABLE["control"].address  # in its first byte is the start bit
    await bench.registers.write_bytes(start + 1, b"\xff\xff\xff")
    require(
        await bench.registers.read("fault") == 0, "a strobe that leaves out the start bit started"
    )


async def _writable_bits(bench: AxiBench) -> None:
    """Write words to all registers; what can be written is there, and nothing else is changed."""
    fields = {
        name: sum((1 << f.width) - 1 << f.offset for f in register.fields if f.access == "rw")
        for name, register in TABLE.items()
        if name not in ("reset", "control")
    }
    await bench.registers.write("interrupt", EVERYTHING)
    others = {name: await bench.registers.read(name) for name, mask in fields.items() if not mask}
    words = {name: bench.rng.getrandbits(32) for name in fields}
    for _ in range(2):
        words = {name: ~word & EVERYTHING for name, word in words.items()}
        for name, word in words.items():
            await bench.registers.write(name, word)
        for name, mask in fields.items():
            due = words[name] & mask if mask else others[name]
            require(await bench.registers.read(name) == due, f"register {name} is not {due:#x}")
    await bench.registers.write("interrupt_enable", 0)
    bench.forget_operands()


async def accesses_at_once(bench: AxiBench) -> None:
    """Read and write at the same time, and more than one at a time: all are answered in order."""
    magic = registers.identity(bench.config)["magic"]
    before = 0
    await bench.registers.write("count", before)
    for _ in range(6):
        words = [bench.rng.getrandbits(32) for _ in range(3)]
        writes = [cocotb.start_soon(bench.registers.write("count", word)) for word in words]
        reads = [
            cocotb.start_soon(bench.registers.read(name)) for name in ("magic", "count", "magic")
        ]
        for task in writes:
            await task
        first, between, last = [await task for task in reads]
        require(first == last == magic, "a read beside writes is wrong")
        require(between in (before, *words), f"count is {between:#x} between writes")
        before = words[-1]
        require(
            await bench.registers.read("count") == before, "the last of three writes is not there"
        )
    bench.forget_operands()
