// Drives the update unit, compiled from its RTL, through its ports: whole buffers per call, one
// evaluation of the netlist per clock. unit.cpp and unit_layout.h are generated beside a copy of
// this file; the layout constants come from the same tables as the gateware's.

#include "netlist.h"
#include "unit_layout.h"

#include <chrono>
#include <cstdint>
#include <cstring>
#include <deque>
#include <vector>

namespace {

using Top = cxxrtl_design::p_upshift;

// Clocks without any progress after which a unit is called stuck. Nothing in the unit waits
// longer than a pipeline's length when its inputs and outputs are served.
constexpr int64_t PATIENCE = 10000;

constexpr bool NATIVE_LITTLE_ENDIAN = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__;

template <unsigned OFFSET, unsigned WIDTH, size_t BITS>
inline void put(cxxrtl::value<BITS> &payload, uint64_t word) {
    static_assert(WIDTH <= 32 && OFFSET + WIDTH <= BITS, "field outside its payload");
    constexpr unsigned chunk = OFFSET / 32, shift = OFFSET % 32;
    const uint64_t bits = (word & ((uint64_t(1) << WIDTH) - 1)) << shift;
    payload.data[chunk] |= uint32_t(bits);
    if constexpr (shift + WIDTH > 32) payload.data[chunk + 1] |= uint32_t(bits >> 32);
}

template <unsigned OFFSET, unsigned WIDTH, size_t BITS>
inline uint64_t get(const cxxrtl::value<BITS> &payload) {
    static_assert(WIDTH <= 32 && OFFSET + WIDTH <= BITS, "field outside its payload");
    constexpr unsigned chunk = OFFSET / 32, shift = OFFSET % 32;
    uint64_t bits = payload.data[chunk];
    if constexpr (shift + WIDTH > 32) bits |= uint64_t(payload.data[chunk + 1]) << 32;
    return (bits >> shift) & ((uint64_t(1) << WIDTH) - 1);
}

inline int64_t sign_extend(uint64_t word, unsigned width) {
    const uint64_t sign = uint64_t(1) << (width - 1);
    return int64_t((word ^ sign) - sign);
}

// put and get for lane LANE and those above it, unrolled.
template <unsigned LANE, unsigned WIDTH, unsigned BASE, size_t BITS, typename Word>
inline void put_lanes(cxxrtl::value<BITS> &payload, const Word *words) {
    if constexpr (LANE < layout::LANES) {
        put<BASE + LANE * WIDTH, WIDTH>(payload, uint64_t(int64_t(words[LANE])));
        put_lanes<LANE + 1, WIDTH, BASE>(payload, words);
    }
}

// One whole gradient beat. On little-endian machines, words as wide as a lane lie in memory as
// they do in the payload.
template <size_t BITS, typename Word>
inline void put_gradients(cxxrtl::value<BITS> &payload, const Word *words) {
    if constexpr (NATIVE_LITTLE_ENDIAN && layout::GRADIENT_WIDTH == 8 * sizeof(Word) && BITS % 32 == 0) {
        std::memcpy(payload.data, words, BITS / 8);
    } else {
        payload = {};
        put_lanes<0, layout::GRADIENT_WIDTH, 0>(payload, words);
    }
}

template <unsigned LANE, unsigned BASE = 0, size_t BITS>
inline void get_weights(const cxxrtl::value<BITS> &row, int64_t *words) {
    if constexpr (LANE < layout::LANES) {
        constexpr unsigned width = layout::WEIGHT_WIDTH;
        words[LANE] = sign_extend(get<BASE + LANE * width, width>(row), width);
        get_weights<LANE + 1, BASE>(row, words);
    }
}

struct Unit {
    Top top;

    // One clock: inputs as they stand, outputs as the rising edge sees them until commit().
    inline void edge() {
        top.prev_p_clk.data[0] = 0;
        top.p_clk.data[0] = 1;
        top.eval(nullptr);
    }
    inline void commit() { top.commit(); }

    void idle() {
        top.p_i__command____valid.data[0] = 0;
        top.p_i__gradients____valid.data[0] = 0;
        top.p_o__report____ready.data[0] = 0;
        top.p_o__weights____ready.data[0] = 0;
        top.p_bus____write__enable.data[0] = 0;
#if UPSHIFT_STREAMED
        top.p_i__weights____valid.data[0] = 0;
#else
        top.p_i__access____valid.data[0] = 0;
#endif
#if UPSHIFT_UPDATES
        top.p_o__updates____ready.data[0] = 1;
#endif
    }
};

inline void put_command(Unit &unit, const int64_t *command) {
    auto &payload = unit.top.p_i__command____payload;
    payload = {};
    using namespace layout::command;
    put<operation_offset, operation_width>(payload, uint64_t(command[0]));
    put<base_offset, base_width>(payload, uint64_t(command[1]));
    put<count_offset, count_width>(payload, uint64_t(command[2]));
    put<rate_offset, rate_width>(payload, uint64_t(command[3]));
    put<resolution_offset, resolution_width>(payload, uint64_t(command[4]));
}

inline void get_report(Unit &unit, int64_t *report) {
    const auto &payload = seen(unit.top.p_o__report____payload);
    using namespace layout::report;
    report[0] = int64_t(get<elements_offset, elements_width>(payload));
    report[1] = int64_t(get<nonzero_offset, nonzero_width>(payload));
    report[2] = int64_t(get<saturated_offset, saturated_width>(payload));
    report[3] = int64_t(get<nonfinite_offset, nonfinite_width>(payload));
    report[4] = int64_t(get<needed_valid_offset, needed_valid_width>(payload));
    report[5] = sign_extend(get<needed_offset, needed_width>(payload), needed_width);
    report[6] = int64_t(get<refusal_offset, refusal_width>(payload));
}

// Beats of one command, packed as they are sent.
struct Feed {
    int64_t base = 0, count = 0, beat = 0, beats = 0;

    void start(const int64_t *command) {
        base = command[1];
        count = command[2];
        beat = 0;
        const int64_t offset = base % layout::LANES;
        const bool has_beats = command[0] == 0 && count;
        beats = has_beats ? (offset + count + layout::LANES - 1) / layout::LANES : 0;
    }

    template <typename Word> inline void put_beat(Unit &unit, const Word *words) const {
        auto &payload = unit.top.p_i__gradients____payload;
        const int64_t first = beat * layout::LANES - base % layout::LANES;
        if (first >= 0 && first + layout::LANES <= count) {
            put_gradients(payload, words + first);
        } else {
            Word padded[layout::LANES] = {};
            for (int64_t lane = 0; lane < layout::LANES; lane++) {
                const int64_t index = first + lane;
                if (index >= 0 && index < count) padded[lane] = words[index];
            }
            put_gradients(payload, padded);
        }
    }
};

// What happens to weights beside a unit while it runs: nothing, or one of the following.
struct Beside {
    explicit Beside(int64_t *) {}
    void offer(Unit &, const Feed &, bool) {}
    void look(Unit &, bool) {}
    bool settled() const { return true; }
};

#if UPSHIFT_UPDATES
// A reader of the stream of updates, which is always ready.
struct Mirror : Beside {
    int64_t *weights;

    explicit Mirror(int64_t *weights) : Beside(weights), weights(weights) {}

    void look(Unit &unit, bool) {
        if (!high(unit.top.p_o__updates____valid)) return;
        const auto &payload = seen(unit.top.p_o__updates____payload);
        using namespace layout::updates;
        int64_t words[layout::LANES];
        get_weights<0, weights_offset>(payload, words);
        const uint64_t mask = get<mask_offset, mask_width>(payload);
        int64_t *row = weights + get<row_offset, row_width>(payload) * layout::LANES;
        for (int64_t lane = 0; lane < layout::LANES; lane++)
            if (mask >> lane & 1) row[lane] = words[lane];
    }
};
using Surroundings = Mirror;
#elif UPSHIFT_STREAMED
// The memory that weights stream from and to. It sends no row of which an update is under way;
// addresses beyond its end, which the unit refuses, wrap around.
struct Outside {
    int64_t *weights;
    std::vector<int64_t> last_sent = std::vector<int64_t>(size_t(layout::ROWS), 0);
    std::deque<int64_t> under_way;
    int64_t sent = 0, returned = 0, row = 0;
    bool offered = false;

    explicit Outside(int64_t *weights) : weights(weights) {}

    void offer(Unit &unit, const Feed &feed, bool wanted) {
        if (!offered && wanted) {
            row = (feed.base / layout::LANES + feed.beat) % layout::ROWS;
            offered = last_sent[size_t(row)] <= returned;
            if (offered) {
                unit.top.p_i__weights____payload = {};
                put_lanes<0, layout::WEIGHT_WIDTH, 0>(unit.top.p_i__weights____payload,
                                                      weights + row * layout::LANES);
            }
        }
        unit.top.p_i__weights____valid.data[0] = offered;
        unit.top.p_o__weights____ready.data[0] = 1;
    }

    void look(Unit &unit, bool taken) {
        if (taken) {
            last_sent[size_t(row)] = ++sent;
            under_way.push_back(row);
            offered = false;
        }
        if (high(unit.top.p_o__weights____valid) && !under_way.empty()) {
            get_weights<0>(seen(unit.top.p_o__weights____payload),
                           weights + under_way.front() * layout::LANES);
            under_way.pop_front();
            returned++;
        }
    }

    bool settled() const { return under_way.empty(); }
};
using Surroundings = Outside;
#else
using Surroundings = Beside;
#endif

// Run `count` commands back to back; the gradients of all of them lie one behind another.
template <typename Word>
int run(Unit &unit, int64_t count, const int64_t *commands, const Word *words, int64_t *weights,
        int64_t *reports) {
    auto &top = unit.top;
    Surroundings surroundings(weights);
    int64_t sent = 0, fed = 0, done = 0, quiet = 0;
    Feed feed;
    feed.start(commands);
    top.p_o__report____ready.data[0] = 1;
    if (count) put_command(unit, commands);
    bool fresh = true;
    while ((done < count || !surroundings.settled()) && quiet < PATIENCE) {
        if (fresh) {
            while (fed < count && feed.beat == feed.beats) {
                if (commands[5 * fed] == 0) words += feed.count;
                if (++fed < count) feed.start(commands + 5 * fed);
            }
            if (fed < count) feed.put_beat(unit, words);
        }
        top.p_i__command____valid.data[0] = sent < count;
        top.p_i__gradients____valid.data[0] = fed < count;
        surroundings.offer(unit, feed, fed < count);
        unit.edge();
        quiet++;
        fresh = fed < count && high(top.p_i__gradients____ready);
        surroundings.look(unit, fresh);
        if (fresh) {
            feed.beat++;
            quiet = 0;
        }
        const bool taken = sent < count && high(top.p_i__command____ready);
        if (high(top.p_o__report____valid)) {
            get_report(unit, reports + 7 * done++);
            quiet = 0;
        }
        unit.commit();
        if (taken && ++sent < count) put_command(unit, commands + 5 * sent);
    }
    unit.idle();
    return done == count && surroundings.settled() ? 0 : -1;
}

#if !UPSHIFT_STREAMED
// Serve one access; its response, if it reads, goes to `row`.
int access(Unit &unit, int64_t *row) {
    auto &top = unit.top;
    bool requested = false;
    for (int64_t quiet = 0; quiet < PATIENCE; quiet++) {
        top.p_i__access____valid.data[0] = !requested;
        top.p_o__weights____ready.data[0] = 1;
        unit.edge();
        if (!requested) requested = high(top.p_i__access____ready);
        const bool answered = row && high(top.p_o__weights____valid);
        if (answered) get_weights<0>(seen(top.p_o__weights____payload), row);
        unit.commit();
        if (answered || (requested && !row)) {
            unit.idle();
            return 0;
        }
    }
    unit.idle();
    return -1;
}
#endif

} // namespace

#pragma GCC visibility push(default)
extern "C" {

void *upshift_open() {
    Unit *unit = new Unit();
    unit->idle();
    unit->top.p_rst.data[0] = 1;
    unit->edge();
    unit->commit();
    unit->top.p_rst.data[0] = 0;
    return unit;
}

void upshift_close(void *handle) { delete static_cast<Unit *>(handle); }

uint32_t upshift_read_register(void *handle, uint32_t address) {
    Unit &unit = *static_cast<Unit *>(handle);
    unit.top.p_bus____address.data[0] = address;
    unit.edge();
    unit.commit();
    return seen(unit.top.p_bus____read__data).data[0];
}

#if !UPSHIFT_STREAMED
// Write `count` weights from `base` on, whole rows at a time. -1: no answer.
int upshift_write(void *handle, int64_t base, int64_t count, const int64_t *words) {
    Unit &unit = *static_cast<Unit *>(handle);
    for (int64_t row = base / layout::LANES; row * layout::LANES < base + count; row++) {
        int64_t lanes[layout::LANES] = {};
        uint64_t mask = 0;
        for (int64_t lane = 0; lane < layout::LANES; lane++) {
            const int64_t index = row * layout::LANES + lane - base;
            if (index < 0 || index >= count) continue;
            lanes[lane] = words[index];
            mask |= uint64_t(1) << lane;
        }
        using namespace layout::access;
        auto &payload = unit.top.p_i__access____payload;
        payload = {};
        put<row_offset, row_width>(payload, uint64_t(row));
        put<write_offset, write_width>(payload, 1);
        put<mask_offset, mask_width>(payload, mask);
        put_lanes<0, layout::WEIGHT_WIDTH, weights_offset>(payload, lanes);
        if (access(unit, nullptr)) return -1;
    }
    return 0;
}

// Read `count` weights from `base` on. -1: no answer.
int upshift_read(void *handle, int64_t base, int64_t count, int64_t *words) {
    Unit &unit = *static_cast<Unit *>(handle);
    for (int64_t row = base / layout::LANES; row * layout::LANES < base + count; row++) {
        int64_t lanes[layout::LANES];
        auto &payload = unit.top.p_i__access____payload;
        payload = {};
        put<layout::access::row_offset, layout::access::row_width>(payload, uint64_t(row));
        if (access(unit, lanes)) return -1;
        for (int64_t lane = 0; lane < layout::LANES; lane++) {
            const int64_t index = row * layout::LANES + lane - base;
            if (index >= 0 && index < count) words[index] = lanes[lane];
        }
    }
    return 0;
}

#endif

// Run commands (operation, base, count, rate, resolution) and fill in reports (elements, nonzero,
// saturated, nonfinite, needed_valid, needed, refusal). `weights` are the weights beside the unit:
// those that stream through it, or what a reader of its updates knows; else not used.
// -1: no answer, -2: word size not known.
int upshift_run(void *handle, int64_t count, const int64_t *commands, const void *words,
                int64_t word_bytes, int64_t *weights, int64_t *reports) {
    Unit &unit = *static_cast<Unit *>(handle);
    switch (word_bytes) {
    case 1: return run(unit, count, commands, static_cast<const int8_t *>(words), weights, reports);
    case 2: return run(unit, count, commands, static_cast<const int16_t *>(words), weights, reports);
    case 4: return run(unit, count, commands, static_cast<const int32_t *>(words), weights, reports);
    case 8: return run(unit, count, commands, static_cast<const int64_t *>(words), weights, reports);
    }
    return -2;
}

// The bare loop that benchmarks compare with: the same netlist, fed with beats packed beforehand,
// commands back to back, reports taken but not looked at. Returns nanoseconds.
int64_t upshift_bare_loop(void *handle, int64_t bursts, int64_t beats, int64_t rate,
                          int64_t resolution, const int64_t *words, int64_t rows) {
    Unit &unit = *static_cast<Unit *>(handle);
    auto &top = unit.top;
    using Payload = decltype(top.p_i__gradients____payload);
    std::vector<Payload> packed(size_t(rows), Payload{});
    for (int64_t row = 0; row < rows; row++)
        put_gradients(packed[size_t(row)], words + row * layout::LANES);
    const int64_t command[5] = {0, 0, beats * layout::LANES, rate, resolution};
    put_command(unit, command);
    top.p_o__report____ready.data[0] = 1;
    top.p_i__gradients____valid.data[0] = 1;
#if UPSHIFT_STREAMED
    top.p_i__weights____valid.data[0] = 1;
    top.p_o__weights____ready.data[0] = 1;
#endif
    int64_t sent = 0, done = 0, row = 0;
    const auto start = std::chrono::steady_clock::now();
    while (done < bursts) {
        top.p_i__command____valid.data[0] = sent < bursts;
        top.p_i__gradients____payload = packed[size_t(row)];
        unit.edge();
        if (high(top.p_i__gradients____ready)) row = row + 1 == rows ? 0 : row + 1;
        sent += sent < bursts && high(top.p_i__command____ready);
        done += high(top.p_o__report____valid);
        unit.commit();
    }
    const auto stop = std::chrono::steady_clock::now();
    unit.idle();
    return std::chrono::duration_cast<std::chrono::nanoseconds>(stop - start).count();
}

} // extern "C"
#pragma GCC visibility pop
