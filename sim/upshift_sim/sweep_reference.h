// What an update must give, written from the equation alone: D = floor(2**(q-k) g + 1/2), then
// W - D 2**(F-q), clamped. Plain 64-bit integers, which hold every step of words up to 16 bits
// without rounding or saturation. It shares nothing with the integer model or the gateware.

#pragma once

#include <cmath>
#include <cstdint>

struct Update {
    int64_t weight;
    bool nonzero, saturated;
};

struct Equation {
    int weight_width, weight_fraction, gradient_fraction, rate, resolution;

    // The quantized step as a multiple of a weight's last place.
    int64_t step(int64_t gradient) const {
        const int point = rate + gradient_fraction;
        const int64_t twice = gradient * (int64_t(1) << (resolution + 1)); // of 2**point D
        const int64_t half = int64_t(1) << point, whole = 2 * half;
        const int64_t sum = twice + half;
        int64_t steps = sum / whole;
        if (sum % whole < 0) steps--; // division truncates, the equation takes the floor
        return steps * (int64_t(1) << (weight_fraction - resolution));
    }

    Update update(int64_t weight, int64_t step) const {
        const int64_t high = (int64_t(1) << (weight_width - 1)) - 1, low = -high - 1;
        const int64_t exact = weight - step;
        const int64_t clamped = exact > high ? high : exact < low ? low : exact;
        return {clamped, step != 0, clamped != exact};
    }

    // The lowest resolution at which the step of a gradient other than zero is not zero.
    int64_t needed(int64_t gradient) const {
        int64_t lowest = -64;
        for (;; lowest++) {
            const double x = std::ldexp(double(gradient), int(lowest) - rate - gradient_fraction);
            if (x >= 0.5 || x < -0.5) return lowest;
        }
    }
};
