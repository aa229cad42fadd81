#!/bin/sh
# Sees to Icarus Verilog: installs it from the distribution where that is permitted.
set -eu
command -v iverilog >/dev/null && exit 0
if command -v apt-get >/dev/null; then
    if [ "$(id -u)" = 0 ]; then
        as_root=""
    elif sudo -n true 2>/dev/null; then
        as_root="sudo -n"
    else
        as_root="none"
    fi
    if [ "$as_root" != none ]; then
        $as_root apt-get update
        $as_root apt-get install -y --no-install-recommends iverilog
        exit 0
    fi
fi
echo "The tests need Icarus Verilog 11 or newer, and it is not installed." >&2
echo "Install it with your package manager, for example: sudo apt install iverilog" >&2
exit 1
