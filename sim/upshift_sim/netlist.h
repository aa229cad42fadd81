// A netlist that is evaluated once per clock, and what its ports show. unit.cpp is generated
// beside a copy of this file.

#pragma once

#include <cxxrtl/cxxrtl.h>

namespace cxxrtl {

// A register that takes its next value without a look at whether it changes. With one evaluation
// per clock nobody asks, and hundreds of branches take a third of the time.
template <size_t BITS> struct plain_register {
    value<BITS> curr, next;

    plain_register() = default;
    template <typename... Init>
    explicit constexpr plain_register(Init... init) : curr{init...}, next{init...} {}

    template <class Observer> bool commit(Observer &) {
        curr = next;
        return true;
    }
};

} // namespace cxxrtl

#define wire plain_register
#include "unit.cpp"
#undef wire

// Outputs are either registers or combinational. Between eval() and commit() both show what the
// clock edge sees.
template <size_t BITS> inline const cxxrtl::value<BITS> &seen(const cxxrtl::value<BITS> &v) { return v; }
template <size_t BITS> inline const cxxrtl::value<BITS> &seen(const cxxrtl::plain_register<BITS> &r) {
    return r.curr;
}
template <typename Port> inline bool high(const Port &port) { return seen(port).data[0] != 0; }
