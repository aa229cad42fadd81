"""Simulators of the update unit: compiled RTL as a device, and cocotb benches."""
