"""The register bank: every read-only field reads its port, clear-on-one fields stick."""

import pytest

from upshift.registers import BY_NAME, REGISTERS
from upshift_hw.registers import RegisterBank


async def read(context, bank, address):
    context.set(bank.bus.address, address)
    await context.tick()
    return context.get(bank.bus.read_data)


async def write(context, bank, address, value):
    context.set(bank.bus.address, address)
    context.set(bank.bus.write_data, value)
    context.set(bank.bus.write_enable, 1)
    await context.tick()
    context.set(bank.bus.write_enable, 0)


READ_ONLY = [
    (register, field) for register in REGISTERS for field in register.fields if field.access == "r"
]


@pytest.mark.parametrize(
    ("register", "field"), READ_ONLY, ids=[f"{r.name}.{f.name}" for r, f in READ_ONLY]
)
def test_a_read_only_field_shows_its_port_and_nothing_else(run, register, field):
    bank = RegisterBank()
    ones = (1 << field.width) - 1

    async def testbench(context, reset):
        for value in (ones, 1, ones & 0x5A5A5A5A):
            context.set(getattr(bank, f"{register.name}_{field.name}"), value)
            for other in REGISTERS:
                expected = value << field.offset if other is register else 0
                assert await read(context, bank, other.address) == expected
        await write(context, bank, register.address, 0xFFFFFFFF)
        assert await read(context, bank, register.address) == (ones & 0x5A5A5A5A) << field.offset

    run(bank, testbench)


def test_read_data_belongs_to_the_address_of_the_clock_before(run):
    bank = RegisterBank()

    async def testbench(context, reset):
        context.set(bank.magic_value, 11)
        context.set(bank.beats_value, 22)
        before = None
        for name in ("magic", "beats", "magic", "beats"):
            context.set(bank.bus.address, BY_NAME[name].address)
            if before is not None:
                assert context.get(bank.bus.read_data) == before
            await context.tick()
            before = {"magic": 11, "beats": 22}[name]
            assert context.get(bank.bus.read_data) == before

    run(bank, testbench)


def test_addresses_without_a_register_read_zero(run):
    bank = RegisterBank()

    async def testbench(context, reset):
        for register, field in READ_ONLY:
            context.set(getattr(bank, f"{register.name}_{field.name}"), (1 << field.width) - 1)
        spare = range(len(REGISTERS), 1 << len(bank.bus.address))
        assert len(spare) > 0
        for address in spare:
            await write(context, bank, address, 0xFFFFFFFF)
            assert await read(context, bank, address) == 0

    run(bank, testbench)


def test_clear_on_one(run):
    bank = RegisterBank()
    address = BY_NAME["error"].address

    async def testbench(context, reset):
        assert await read(context, bank, address) == 0
        for bits in (0b00101, 0b10000):  # one clock each
            context.set(bank.error_refusal, bits)
            await context.tick()
        context.set(bank.error_refusal, 0)
        for _ in range(3):
            assert await read(context, bank, address) == 0b10101, "sticky, not cleared by reading"
        await write(context, bank, address, 0)
        assert await read(context, bank, address) == 0b10101
        await write(context, bank, BY_NAME["status"].address, 0xFFFFFFFF)
        assert await read(context, bank, address) == 0b10101
        await write(context, bank, address, 0b00110)
        assert await read(context, bank, address) == 0b10001
        # A cause that comes in the clock that clears it is not lost.
        context.set(bank.error_refusal, 0b00001)
        await write(context, bank, address, 0xFFFFFFFF)
        context.set(bank.error_refusal, 0)
        assert await read(context, bank, address) == 0b00001
        context.set(reset, 1)
        await context.tick()
        context.set(reset, 0)
        assert await read(context, bank, address) == 0

    run(bank, testbench)
