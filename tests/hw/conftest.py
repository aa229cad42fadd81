"""Running components in Amaranth's simulator."""

import pytest
from amaranth.hdl import ClockDomain, Elaboratable, Module
from amaranth.sim import Simulator

# A component whose constructor refuses its arguments is never elaborated, and that is no mistake.
Elaboratable._MustUse__silence = True


@pytest.fixture
def run():
    """Function that runs an async testbench on a component; it gets context and reset signal."""

    def run(component, testbench):
        top = Module()
        top.domains.sync = domain = ClockDomain()
        top.submodules.dut = component

        async def wrapped(context):
            await testbench(context, domain.rst)

        simulator = Simulator(top)
        simulator.add_clock(1e-6)
        simulator.add_testbench(wrapped)
        simulator.run()

    return run


@pytest.fixture
def pipe(run):
    """Function that feeds a pipeline with new inputs every clock and returns its outputs.

    Inputs are dictionaries of port values. ``late`` has the clocks by which ports come later.
    Output n is what the ports show `latency` clocks after input n.
    """

    def pipe(component, inputs, outputs, *, latency, late=None):
        late = late or {}
        shown = []

        async def testbench(context, reset):
            for clock in range(len(inputs) + latency - 1 + max(late.get(o, 0) for o in outputs)):
                for name in inputs[0]:
                    of = min(max(clock - late.get(name, 0), 0), len(inputs) - 1)
                    context.set(getattr(component, name), inputs[of][name])
                await context.tick()
                shown.append({o: context.get(getattr(component, o)) for o in outputs})

        run(component, testbench)
        first = latency - 1
        return [
            tuple(shown[first + n + late.get(o, 0)][o] for o in outputs) for n in range(len(inputs))
        ]

    return pipe
