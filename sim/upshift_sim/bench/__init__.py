"""cocotb benches of the update unit, and the function that runs them.

`runner` exports the Verilog and runs a simulator; it is the only module that needs Amaranth and
Yosys. The other modules run inside the simulator and need nothing but numpy and cocotb.
"""
