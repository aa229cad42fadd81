// Lets Python play the surroundings of a compiled unit, clock by clock, through all of its ports.
// unit.cpp and pins.h, the list of the ports, are generated beside a copy of this file.

#include "unit.cpp"
#include "pins.h"

#include <cstdint>
#include <cstring>

namespace {

// Evaluations after which a netlist is said to oscillate: a mutant may have closed a loop.
constexpr int PATIENCE = 100;

template <size_t BITS> inline const cxxrtl::value<BITS> &seen(const cxxrtl::value<BITS> &v) { return v; }
template <size_t BITS> inline const cxxrtl::value<BITS> &seen(const cxxrtl::wire<BITS> &w) { return w.curr; }

struct Pins {
    cxxrtl_design::p_upshift top;
    bool low = false;

    bool settle(bool clock) {
        top.p_clk.data[0] = clock;
        for (int n = 0; n < PATIENCE; n++) {
            const bool converged = top.eval(nullptr);
            if (!top.commit() || converged) return true;
        }
        return false;
    }
};

} // namespace

#pragma GCC visibility push(default)
extern "C" {

void *pins_open() { return new Pins(); }

void pins_close(void *handle) { delete static_cast<Pins *>(handle); }

// The rising edge that sees the inputs of the call before; then these inputs, and the outputs as
// the next edge will see them. -1: the netlist oscillates.
int pins_clock(void *handle, const uint32_t *inputs, uint32_t *outputs) {
    Pins &pins = *static_cast<Pins *>(handle);
    if (pins.low && !pins.settle(true)) return -1;
#define PIN(NAME, WORD) std::memcpy(pins.top.NAME.data, inputs + WORD, sizeof pins.top.NAME.data);
    PINS_IN(PIN)
#undef PIN
    pins.low = true;
    if (!pins.settle(false)) return -1;
#define PIN(NAME, WORD) std::memcpy(outputs + WORD, seen(pins.top.NAME).data, sizeof seen(pins.top.NAME).data);
    PINS_OUT(PIN)
#undef PIN
    return 0;
}

} // extern "C"
#pragma GCC visibility pop
