"""What the bench plays: the rule itself, registers, packets of the wrong length, and resets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import numpy as np

from upshift import layout, registers
from upshift.layout import Operation
from upshift.reference import Command
from upshift.registers import Fault, ShellOperation
from upshift.vectors import Vector, corners, random_vectors, update
from upshift.words import to_bytes, word_bytes
from upshift_sim.axi_bench import bins
from upshift_sim.axi_bench.access import EVERYTHING, require
from upshift_sim.axi_bench.bench import AxiBench
from upshift_sim.axi_bench.expected import Expected
from upshift_sim.axi_bench.rules import accesses_at_once, register_rules


def _vectors(bench: AxiBench, count: int, longest: int = 40) -> list[Vector]:
    seed = bench.rng.getrandbits(32)
    return random_vectors(bench.config, count, seed, longest)


def _long(bench: AxiBench, rows: int, base: int = 0) -> Vector:
    """Return a burst of some rows, of gradients whose steps are rarely zero."""
    count = rows * bench.config.lanes - base % bench.config.lanes
    words = np.array([bench.rng.getrandbits(bench.config.gradient.width - 2) for _ in range(count)])
    return update(base, words, rate=0, resolution=bench.config.max_resolution)


async def _clear_faults(bench: AxiBench, expected: Fault) -> None:
    found = Fault(await bench.registers.read("fault"))
    require(found == expected, f"fault is {found!r}, expected {expected!r}")
    for name in bins.faults(found):
        bench.coverage.hit(name)
    await bench.registers.write("fault", int(expected))
    require(await bench.registers.read("fault") == 0, "fault was not cleared by ones")


async def equality(bench: AxiBench) -> None:
    """Play random bursts and corners with reads and writes between them, as the model does."""
    config, rng = bench.config, bench.rng
    vectors = _vectors(bench, 24)
    vectors += [v for case in corners(config).values() for v in case[:3]]
    resident = config.memory == "resident"
    for number, vector in enumerate(vectors):
        await bench.burst(vector)
        if resident and number % 6 == 5:
            base = rng.randrange(config.depth)
            count = rng.randint(1, config.depth - base)
            await bench.read_weights(base, count)
            low, high = config.weight.min, config.weight.max
            words = np.array([rng.randint(low, high) for _ in range(count)])
            await bench.write_weights(base, words)
        if rng.random() < 0.6:
            await bench.report()
    if resident:
        await bench.read_weights(0, config.depth)
        await bench.read_weights(config.depth - 1, 2)  # refused: nothing comes
    await bench.finish()
    faults = Fault(await bench.registers.read("fault"))
    require(not faults & ~Fault.REFUSED, f"{faults!r} after packets of the right length")
    await bench.registers.write("fault", int(faults))
    await bench.registers.write("error", EVERYTHING)


async def back_pressure(bench: AxiBench) -> None:
    """Let all queues fill up, from either end; what they held back comes, and in order.

    In all four turns queues are full at another place, and with rows that differ from those that
    would overwrite them.
    """
    rows = min(9, bench.config.rows)
    for _ in range(4):
        await _held_updates(bench)
        await bench.burst(_long(bench, rows))
        await bench.finish()
        if bench.config.memory == "resident":
            await _held_rows(bench)
            await bench.read_weights(0, rows * bench.config.lanes)
        await bench.finish()
    await _reports_wait(bench)
    await _reports_wait(bench)  # after an odd number of them


async def _held_updates(bench: AxiBench) -> None:
    """Send packets before their bursts, and then take nothing that comes of these."""
    config = bench.config
    vectors = [_long(bench, config.rows - n, n * config.lanes) for n in (0, 1, 3)]
    for vector in vectors:
        bench.send(vector)
    await bench.clocks(100)
    require(not int(bench.dut.s_axis_gradients_tready.value), "gradients of no burst are taken")
    bench.hold(back=True)
    for vector in vectors:
        await bench.command(ShellOperation.UPDATE, vector.command)
    await bench.clocks(200)
    bench.hold(back=False)
    await bench.finish()


async def _held_rows(bench: AxiBench) -> None:
    """Read rows and take none, while packets wait to be written."""
    config = bench.config
    bench.hold(back=True)
    for first in (0, 2 * config.lanes):
        await bench.read_weights(first, config.depth - first)
    for first in (0, 5 * config.lanes):
        size = config.depth - first
        words = np.array([bench.rng.getrandbits(config.weight.width - 1) for _ in range(size)])
        await bench.write_weights(first, words)
    await bench.clocks(200)
    require(not int(bench.dut.s_axis_weights_tready.value), "weights of no command are taken")
    ended = await bench.registers.read_field("state", "reports")
    require(ended <= 1, f"{ended} commands ended while nobody took rows")
    bench.hold(back=False)
    await bench.finish()


async def _reports_wait(bench: AxiBench) -> None:
    """Leave reports until there is no room for more: those that wait are counted, none is lost."""
    room = 16
    for number in range(1, room + 6):
        words = np.ones(number, int)
        await bench.burst(update(0, words, rate=0, resolution=bench.config.max_resolution))
        await bench.clocks(100)
        waiting = await bench.registers.read_field("state", "reports")
        require(waiting == min(number, room), f"{waiting} of {number} reports wait")
    await bench.finish()


async def command_rules(bench: AxiBench) -> None:
    """Start commands that do not fit, too many of them, and ones that are refused."""
    config = bench.config
    await bench.registers.write("interrupt_enable", 0b100)
    require(not int(bench.dut.irq.value), "an interrupt without a reason")
    await bench.command(ShellOperation.UPDATE, Command(Operation.UPDATE, 0, 1 << 31, 0, 0))
    require(bool(int(bench.dut.irq.value)), "no interrupt for a fault")
    await _clear_faults(bench, Fault.OPERAND)
    await bench.clocks(20)
    require(not int(bench.dut.irq.value), "the interrupt stays when its reason is gone")
    if config.memory == "streamed":
        await bench.command(ShellOperation.READ, Command(Operation.UPDATE, 0, 1, 0, 0))
        await _clear_faults(bench, Fault.OPERAND)

    # The unit holds two commands and the shell eight while the first waits for its packet.
    vector = _long(bench, 1)
    await bench.command(ShellOperation.UPDATE, vector.command)
    started = 1
    rooms = []
    while room := await bench.registers.read_field("state", "room"):
        rooms.append(room)
        await bench.registers.write("control", 1)
        started += 1
        await bench.clocks(40)
    require(rooms == [8] * (len(rooms) - 7) + [*range(7, 0, -1)], f"room was {rooms}")
    await bench.registers.write("control", 1)
    await _clear_faults(bench, Fault.OVERRUN)
    for _ in range(started):
        bench.send(vector)
    await bench.finish()
    bench.commands += started - 1

    refused = Vector(
        Command(Operation.UPDATE, 0, 1, 0, config.max_resolution + 1), np.zeros(1, int)
    )
    await bench.burst(refused)
    await bench.burst(vector)
    await bench.finish()
    await _clear_faults(bench, Fault.REFUSED)
    require(await bench.registers.read_field("error", "refusal") == 2, "the unit has no error")
    await bench.registers.write("error", 2)
    require(await bench.registers.read("error") == 0, "the unit's error was not cleared")
    await _interrupts(bench, vector)


async def _interrupts(bench: AxiBench, vector: Vector) -> None:
    """See the interrupt at the end of a burst and while a report waits."""
    await bench.registers.write("interrupt", 1)
    await bench.registers.write("interrupt_enable", 0b001)
    await bench.clocks(20)
    require(not int(bench.dut.irq.value), "done before anything was started")
    await bench.burst(vector)
    await bench.until(lambda: bool(int(bench.dut.irq.value)), "for the interrupt")
    require(await bench.registers.read("interrupt") == 0b011, "not done, or no report")
    await bench.registers.write("interrupt", 1)
    await bench.clocks(20)
    require(not int(bench.dut.irq.value), "the interrupt stays when it was cleared")
    await bench.registers.write("interrupt_enable", 0b010)
    await bench.clocks(20)
    require(bool(int(bench.dut.irq.value)), "no interrupt for a report that waits")
    await bench.finish()
    await bench.clocks(20)
    require(not int(bench.dut.irq.value), "the interrupt stays when the report was read")


async def wrong_lengths(bench: AxiBench) -> None:
    """Send packets that end early or late: what is defined happens, and the next ones are right."""
    streamed = bench.config.memory == "streamed"
    rows = 6
    for base in (0, 1 % bench.config.lanes):
        for sent, fault in (
            (1, Fault.GRADIENTS_EARLY),
            (rows - 1, Fault.GRADIENTS_EARLY),
            (rows + 1, Fault.GRADIENTS_LATE),
            (rows + 4, Fault.GRADIENTS_LATE),
        ):
            await bench.burst(_long(bench, rows, base), gradients=sent)
            await bench.burst(_long(bench, rows))
            await bench.finish()
            await _clear_faults(bench, fault)
            weights_fault = Fault(fault << 2)
            if streamed:
                await bench.burst(_long(bench, rows, base), weights=sent)
                await bench.burst(_long(bench, rows))
            else:
                words = np.array(
                    [bench.rng.getrandbits(1) for _ in range(rows * bench.config.lanes)]
                )
                await bench.write_weights(base, words[base:], rows=sent)
                await bench.write_weights(0, words)
                await bench.write_weights(base, ~words[base:], rows=sent)
                await bench.read_weights(0, bench.config.depth)
            await bench.finish()
            await _clear_faults(bench, weights_fault)
    if streamed:
        await bench.burst(_long(bench, rows), gradients=2, weights=4)
        await bench.burst(_long(bench, rows), gradients=rows + 3, weights=1)
        await bench.burst(_long(bench, rows))
        await bench.finish()
        await _clear_faults(bench, Fault(0b1101 & ~0b1000 | 0b0010))
    await _refused_packets(bench)


async def _refused_packets(bench: AxiBench) -> None:
    """See that a refused command takes its packet all the same."""
    longest = next(1 << f.width for f in layout.command(bench.config) if f.name == "count") - 1
    start = bench.config.depth - bench.config.lanes
    for count in (2 * bench.config.lanes, longest):
        words = np.ones(count, np.int64)
        await bench.burst(update(start, words, rate=0, resolution=0))
        if bench.config.memory == "resident":
            await bench.write_weights(start, words)
    await bench.burst(_long(bench, 2))
    await bench.finish()
    await _clear_faults(bench, Fault.REFUSED)


async def padding(bench: AxiBench) -> None:
    """Send words that do not fit their format: they are cut off, and noticed; outside no one is."""
    config = bench.config
    width = config.gradient.width
    size = word_bytes(width)
    if not bins.padded(config):
        return
    vector = _long(bench, 1, base=1 % config.lanes)
    await bench.burst(vector)
    await bench.finish()
    row = np.zeros(config.lanes, np.int64)
    row[vector.command.base :] = vector.gradients
    for lane, due in ((config.lanes - 1, Fault.PADDING), (0, Fault(0))):
        data = bytearray(to_bytes(row, width))
        data[(lane + 1) * size - 1] ^= 0x80
        bench.expected.append(_expect(bench, vector))
        bench.send_raw(bytes(data))
        await bench.command(ShellOperation.UPDATE, vector.command)
        await bench.finish()
        await _clear_faults(bench, due)


def _expect(bench: AxiBench, vector: Vector) -> Expected:
    beats = bench.config.beats(vector.command.base, vector.command.count)
    return Expected(bench.execute(vector.command, vector.gradients), gradients=beats)


async def floor(bench: AxiBench) -> None:
    """Raise the floor: bursts below it are refused, packet and all, until a reset."""
    top = bench.config.max_resolution
    words = np.ones(bench.config.lanes, np.int64)
    below, at = (update(0, words, rate=0, resolution=q) for q in (max(0, top - 1), top))
    await bench.burst(Vector(Command(Operation.RAISE, 0, 0, 0, top), np.zeros(0, np.int64)))
    await bench.burst(below)
    await bench.burst(at)
    await bench.finish()
    await _clear_faults(bench, Fault.REFUSED if top else Fault(0))
    await bench.soft_reset()
    await bench.burst(below)
    await bench.finish()


async def back_to_back(bench: AxiBench) -> None:
    """Queue bursts and then send their packets: not one clock lies between them."""
    case, checker = bench.case, bench.gradients
    vector = _long(bench, bench.config.rows)
    number = 8
    for _ in range(number):
        await bench.command(ShellOperation.UPDATE, vector.command)
    begin = len(checker.packets)
    for _ in range(number):
        bench.send(vector)
    await bench.finish()
    packets = checker.packets[begin:]
    clocks = packets[-1].last - packets[0].first + 1
    beats = sum(len(packet.beats) for packet in packets)
    paced_by_bus = case.unit_period is None or case.unit_period < case.bus_period
    if paced_by_bus and not case.idle and not case.stall:
        require(clocks == beats, f"{beats} beats of {number} packets took {clocks} clocks")


async def resets(bench: AxiBench) -> None:
    """Reset in the middle of bursts, from the register and from the bus."""
    config = bench.config
    for number in range(4):
        vector = _long(bench, config.rows)
        await bench.registers.write("interrupt_enable", 0b111)
        await bench.burst(vector)
        await bench.registers.poll("state", 0xFF0000, "for a report that is lost in the reset")
        before = bench.model.weights.copy()
        for _ in range(10):  # more than the unit and the parts before it take
            await bench.command(ShellOperation.UPDATE, vector.command)
        bench.send(vector)
        bench.send(vector, gradients=config.rows - 1)
        packets = bench.rng.randint(0, 1)
        reached = bench.rng.randint(2, config.rows - 2)

        def running(packets: int = packets, reached: int = reached) -> bool:
            done = len(bench.gradients.packets)
            return done > packets or (done == packets and bench.gradients.partial >= reached)

        for checker in bench.streams:
            checker.restart()

        await bench.until(running, "for a burst to reset in")
        if number % 2:
            await bench.bus_reset(bench.rng.randint(1, 4))
            bench.coverage.hit(bins.BUS_RESET)
        else:
            await bench.soft_reset()
            bench.coverage.hit(bins.SOFT_RESET)
        for checker in bench.streams:
            checker.restart()
        await _after_reset(bench, before, vector)
    await _reset_between_packets(bench)


async def _reset_between_packets(bench: AxiBench) -> None:
    """Reset while the first beat of a packet waits: the packet has not begun, so it is whole."""
    config = bench.config
    if config.memory == "streamed" or bench.case.unit_period is None:
        return
    vector = _long(bench, config.rows)
    held = 16  # beats on the way to the unit
    bench.send_raw(to_bytes(np.zeros(held * config.lanes, np.int64), config.gradient.width))
    bench.send_raw(to_bytes(vector.gradients, config.gradient.width))
    await bench.clocks(100)
    require(not bench.gradients.partial, "a beat was taken for which there is no room")
    await bench.soft_reset()
    bench.expected.append(_expect(bench, vector))
    await bench.command(ShellOperation.UPDATE, vector.command)
    await bench.finish()


async def _after_reset(bench: AxiBench, before: np.ndarray, vector: Vector) -> None:
    """Check registers, and that each weight has one of the values that it may have."""
    config = bench.config
    for name in ("fault", "interrupt", "interrupt_enable", "count", "error", "beats"):
        require(await bench.registers.read(name) == 0, f"register {name} is not zero after a reset")
    require(await bench.registers.read("state") == 8 << 8, "state is not idle after a reset")
    if config.memory == "resident":
        once = bench.once(before, vector)
        twice = bench.once(once, vector)
        await bench.read_weights(0, config.depth)
        bench.rows_expected.clear()
        await bench.until(lambda: bool(bench.read_back.packets), "for the weights")
        packet = bench.read_back.packets.pop()
        found = bench.unpack([beat["data"] for beat in packet.beats]).ravel()
        require(
            bool(np.all((found == before) | (found == once) | (found == twice))),
            "a weight is neither old nor new",
        )
        bench.model.weights[:] = found
    else:
        bench.model.weights[:] = before
    for following in _vectors(bench, 3):
        await bench.burst(following)
    await bench.finish()


async def accesses_in_bursts(bench: AxiBench) -> None:
    """Read and write registers while a burst is in progress."""
    rows = bench.config.rows
    for _ in range(2):
        await bench.burst(_long(bench, rows), gradients=rows)
    for _ in range(4):
        magic = registers.identity(bench.config)["magic"]
        require(await bench.registers.read("magic") == magic, "the magic number changed in a burst")
        await bench.registers.write("rate", 3)
        require(
            await bench.registers.read("rate") == 3,
            "a command register cannot be written in a burst",
        )
    bench.forget_operands()
    await bench.finish()


SCENARIOS: dict[str, Callable[[AxiBench], Awaitable[None]]] = {
    "register_rules": register_rules,
    "equality": equality,
    "command_rules": command_rules,
    "wrong_lengths": wrong_lengths,
    "padding": padding,
    "floor": floor,
    "back_to_back": back_to_back,
    "accesses_in_bursts": accesses_in_bursts,
    "accesses_at_once": accesses_at_once,
    "back_pressure": back_pressure,
    "resets": resets,
}
