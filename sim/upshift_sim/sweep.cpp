// Streams every weight past every gradient through a unit of streamed weights, compiled from its
// RTL, and compares each row that comes out, and each report, with sweep_reference.h.
// unit.cpp and unit_layout.h are generated beside a copy of this file.

#include "netlist.h"
#include "unit_layout.h"
#include "sweep_reference.h"

#include <cstdint>
#include <cstring>

namespace {

constexpr int64_t PATIENCE = 10000; // clocks without a row or a report

inline uint64_t bits(const uint32_t *words, unsigned offset, unsigned width) {
    uint64_t low = words[offset / 32];
    if (offset % 32 + width > 32) low |= uint64_t(words[offset / 32 + 1]) << 32;
    return low >> (offset % 32) & ((uint64_t(1) << width) - 1);
}

inline int64_t number(const uint32_t *words, unsigned offset, unsigned width) {
    const uint64_t sign = uint64_t(1) << (width - 1);
    return int64_t((bits(words, offset, width) ^ sign) - sign);
}

template <size_t BITS> inline void fill(cxxrtl::value<BITS> &payload, const uint32_t *words) {
    std::memcpy(payload.data, words, sizeof payload.data);
}

// What a sweep is told, and what it finds. The order of the members is that of the class in
// sweep.py.
struct Sweep {
    const uint32_t *command;  // one packed payload: all weights, from address 0
    const uint32_t *weights;  // a packed payload for each row
    const uint32_t *gradients; // a packed payload for each burst: one gradient in all lanes
    int64_t first, bursts;    // the first gradient, and how many follow one another
    int64_t weight_fraction, gradient_fraction, rate, resolution;
    int64_t mismatches, shown;
    int64_t differences[8][4]; // gradient, weight, found, expected; weight -1 << 62 for a report
};

struct Counts {
    int64_t nonzero = 0, saturated = 0;
};

struct Comparison {
    Sweep &sweep;
    Equation equation;
    int64_t burst = 0, row = 0, step = 0;
    Counts counts;

    void differ(int64_t gradient, int64_t weight, int64_t found, int64_t expected) {
        sweep.mismatches++;
        if (sweep.shown == 8) return;
        int64_t *place = sweep.differences[sweep.shown++];
        place[0] = gradient;
        place[1] = weight;
        place[2] = found;
        place[3] = expected;
    }

    // Compare a row; return whether it was the last of its burst.
    bool take(const uint32_t *words, const uint32_t *before) {
        if (row == 0) step = equation.step(sweep.first + burst), counts = {};
        for (unsigned lane = 0; lane < layout::LANES; lane++) {
            const unsigned offset = lane * layout::WEIGHT_WIDTH;
            const int64_t weight = number(before, offset, layout::WEIGHT_WIDTH);
            const Update right = equation.update(weight, step);
            const int64_t found = number(words, offset, layout::WEIGHT_WIDTH);
            if (found != right.weight) differ(sweep.first + burst, weight, found, right.weight);
            counts.nonzero += right.nonzero;
            counts.saturated += right.saturated;
        }
        return ++row == layout::ROWS;
    }

    void report(const uint32_t *words, const Counts &right, int64_t number_of_burst) {
        using namespace layout::report;
        const int64_t gradient = sweep.first + number_of_burst;
        const int64_t needed_right = gradient ? equation.needed(gradient) : 0;
        const int64_t expected[] = {layout::ROWS * layout::LANES, right.nonzero, right.saturated,
                                    0, gradient != 0, needed_right, 0};
        const int64_t found[] = {int64_t(bits(words, elements_offset, elements_width)),
                                 int64_t(bits(words, nonzero_offset, nonzero_width)),
                                 int64_t(bits(words, saturated_offset, saturated_width)),
                                 int64_t(bits(words, nonfinite_offset, nonfinite_width)),
                                 int64_t(bits(words, needed_valid_offset, needed_valid_width)),
                                 number(words, needed_offset, needed_width),
                                 int64_t(bits(words, refusal_offset, refusal_width))};
        for (unsigned n = 0; n < 7; n++)
            if (found[n] != expected[n])
                differ(gradient, -(int64_t(1) << 62) + n, found[n], expected[n]);
    }
};

} // namespace

#pragma GCC visibility push(default)
extern "C" {

// Run `bursts` bursts back to back. -1: the unit stopped.
int sweep_run(Sweep *sweep) {
    cxxrtl_design::p_upshift top;
    const size_t weight_words = sizeof top.p_i__weights____payload.data / 4;
    const size_t gradient_words = sizeof top.p_i__gradients____payload.data / 4;
    Comparison comparison{*sweep,
                          {int(layout::WEIGHT_WIDTH), int(sweep->weight_fraction),
                           int(sweep->gradient_fraction), int(sweep->rate), int(sweep->resolution)}};
    sweep->mismatches = sweep->shown = 0;
    Counts waiting[64]; // of bursts whose last row came out and whose report did not
    int64_t commands = 0, gradients = 0, rows_in = 0, reports = 0, quiet = 0;
    const int64_t beats = sweep->bursts * layout::ROWS;
    fill(top.p_i__command____payload, sweep->command);
    top.p_o__report____ready.data[0] = top.p_o__weights____ready.data[0] = 1;
    while ((reports < sweep->bursts || comparison.burst < sweep->bursts) && quiet++ < PATIENCE) {
        top.p_i__command____valid.data[0] = commands < sweep->bursts;
        top.p_i__gradients____valid.data[0] = gradients < beats;
        top.p_i__weights____valid.data[0] = rows_in < beats;
        if (gradients < beats)
            fill(top.p_i__gradients____payload, sweep->gradients + gradients / layout::ROWS * gradient_words);
        fill(top.p_i__weights____payload, sweep->weights + rows_in % layout::ROWS * weight_words);
        top.prev_p_clk.data[0] = 0;
        top.p_clk.data[0] = 1;
        top.eval(nullptr);
        commands += commands < sweep->bursts && high(top.p_i__command____ready);
        gradients += gradients < beats && high(top.p_i__gradients____ready);
        rows_in += rows_in < beats && high(top.p_i__weights____ready);
        if (high(top.p_o__weights____valid) && comparison.burst < sweep->bursts) {
            quiet = 0;
            const uint32_t *before = sweep->weights + comparison.row * weight_words;
            if (comparison.take(seen(top.p_o__weights____payload).data, before)) {
                waiting[comparison.burst++ % 64] = comparison.counts;
                comparison.row = 0;
            }
        }
        if (high(top.p_o__report____valid) && reports < sweep->bursts) {
            if (reports >= comparison.burst) return -2; // a report before its last row
            comparison.report(seen(top.p_o__report____payload).data, waiting[reports % 64], reports);
            reports++;
        }
        top.commit();
    }
    return quiet < PATIENCE ? 0 : -1;
}

} // extern "C"
#pragma GCC visibility pop
