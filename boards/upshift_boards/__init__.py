"""FPGA boards: pins, clocks and bitstreams of the update unit. No board is described yet."""
