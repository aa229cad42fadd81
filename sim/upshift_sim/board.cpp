// Drives a board, compiled from its RTL, through its two pins: a host's UART sends bits to one
// and samples those of the other, at a bit length that need not be a whole number of clocks.
// Thousands of clocks per call, one evaluation of the netlist per clock. unit.cpp is generated
// beside a copy of this file.

#include "netlist.h"

#include <cstdint>
#include <cstring>
#include <vector>

namespace {

using Top = cxxrtl_design::p_upshift;

// Times are counted in 2**-32 clocks.
constexpr int64_t CLOCK = int64_t(1) << 32;

// A start bit, eight data bits, a stop bit.
constexpr int BITS = 10;

// Bytes in the order in which they came.
class Queue {
    std::vector<uint8_t> bytes;
    size_t first = 0;

public:
    size_t size() const { return bytes.size() - first; }

    void put(const uint8_t *data, size_t count) { bytes.insert(bytes.end(), data, data + count); }

    size_t take(uint8_t *data, size_t count) {
        if (count > size()) count = size();
        if (!count) return 0;
        std::memcpy(data, bytes.data() + first, count);
        first += count;
        if (first == bytes.size()) {
            bytes.clear();
            first = 0;
        } else if (first > 65536) {
            bytes.erase(bytes.begin(), bytes.begin() + ptrdiff_t(first));
            first = 0;
        }
        return count;
    }
};

// What a UART puts on a line. Bytes that follow one another keep the phase of the first.
struct Sender {
    int64_t bit;      // length of a bit
    int64_t left = 0; // of the present bit
    uint32_t word = 1;
    int bits = 0; // still to come, the present one included

    inline bool level() const { return word & 1; }
    inline bool active() const { return bits; }

    // One clock; returns whether a byte was taken from the queue.
    inline bool clock(Queue &queue) {
        if (bits) {
            left -= CLOCK;
            if (left > 0) return false;
            word >>= 1;
            left += bit;
            if (--bits) return false;
        } else {
            left = bit;
        }
        word = 1;
        uint8_t byte;
        if (!queue.take(&byte, 1)) return false;
        word = uint32_t(byte) << 1 | 1u << (BITS - 1);
        bits = BITS;
        return true;
    }
};

// What a UART makes of a line: it looks once at the middle of each bit.
struct Receiver {
    int64_t bit;
    int64_t left = 0; // until the next look
    uint32_t word = 0;
    int bits = 0; // still to be seen

    inline bool active() const { return bits; }

    // One clock; returns 1 for a byte in `byte`, -1 for one whose start or stop bit is wrong.
    inline int clock(bool level, uint8_t &byte) {
        if (!bits) {
            if (!level) {
                bits = BITS;
                left = bit / 2;
            }
            return 0;
        }
        left -= CLOCK;
        if (left > 0) return 0;
        left += bit;
        word = word >> 1 | uint32_t(level) << (BITS - 1);
        if (--bits) return 0;
        byte = uint8_t(word >> 1);
        return !(word & 1) && word >> (BITS - 1) ? 1 : -1;
    }
};

enum Counter { CLOCKS, SENDING, SENT, RECEIVED, BAD, COUNTERS };

struct Board {
    Top top;
    Queue in, out;
    Sender sender;
    Receiver receiver;
    int quiet = 0; // clocks since the board last had work
    int64_t counters[COUNTERS] = {};

    explicit Board(int64_t bit) : sender{bit}, receiver{bit} {
        top.p_rx.data[0] = 1;
        top.p_rst.data[0] = 1;
        edge();
        top.commit();
        top.p_rst.data[0] = 0;
    }

    // Inputs as they stand, outputs as the rising edge sees them until commit().
    inline void edge() {
        top.prev_p_clk.data[0] = 0;
        top.p_clk.data[0] = 1;
        top.eval(nullptr);
    }

    // One clock with the line at `level`; returns whether the board sent the end of a frame.
    inline bool clock(bool level) {
        top.p_rx.data[0] = level;
        edge();
        uint8_t byte;
        const int heard = receiver.clock(high(top.p_tx), byte);
        top.commit();
        quiet = high(top.p_working) ? 0 : quiet + 1;
        counters[CLOCKS]++;
        if (!heard) return false;
        if (heard < 0) {
            counters[BAD]++;
            return false;
        }
        counters[RECEIVED]++;
        out.put(&byte, 1);
        return byte == 0;
    }

    // Whether nothing is under way but a frame whose rest is missing. The board says so, but what
    // the line carries comes to it through a few registers, and its counters are shown a few
    // clocks late.
    inline bool resting() const {
        return quiet > 64 && !sender.active() && !receiver.active() && !in.size();
    }
};

inline Board &board(void *handle) { return *static_cast<Board *>(handle); }

} // namespace

#pragma GCC visibility push(default)
extern "C" {

// `bit` is the length of a bit on the host's side in 2**-32 clocks.
void *upshift_board_open(int64_t bit) { return new Board(bit); }

void upshift_board_close(void *handle) { delete static_cast<Board *>(handle); }

void upshift_board_feed(void *handle, const uint8_t *data, int64_t count) {
    board(handle).in.put(data, size_t(count));
}

// Bytes that the line to the board has not begun to carry.
int64_t upshift_board_queued(void *handle) { return int64_t(board(handle).in.size()); }

int64_t upshift_board_take(void *handle, uint8_t *data, int64_t count) {
    return int64_t(board(handle).out.take(data, size_t(count)));
}

// Run up to `clocks` clocks, until the board rests or, if asked, until it has sent the end of a
// frame. Returns the clocks that were run.
int64_t upshift_board_run(void *handle, int64_t clocks, int until_frame) {
    Board &b = board(handle);
    for (int64_t n = 0; n < clocks; n++) {
        if (b.resting()) return n;
        b.counters[SENT] += b.sender.clock(b.in);
        b.counters[SENDING] += b.sender.active();
        if (b.clock(b.sender.level()) && until_frame) return n + 1;
    }
    return clocks;
}

// Put one level per clock on the line, instead of bytes.
void upshift_board_play(void *handle, const uint8_t *levels, int64_t clocks) {
    Board &b = board(handle);
    for (int64_t n = 0; n < clocks; n++) b.clock(levels[n]);
    b.quiet = 0;
}

void upshift_board_counters(void *handle, int64_t *counters) {
    std::memcpy(counters, board(handle).counters, sizeof board(handle).counters);
}

} // extern "C"
#pragma GCC visibility pop
