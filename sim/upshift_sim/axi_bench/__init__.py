"""The bench of the unit in its AXI shell: cocotbext-axi drives it, own checkers watch the rules.

`upshift_sim.axi_bench.runner.run` runs it in a simulator.
"""
