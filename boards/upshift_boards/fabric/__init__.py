"""The fabric's limit: what a unit costs and how fast it runs on FPGA families, placed and routed.

`upshift_boards.fabric.parts` lists the FPGAs, `harness` puts a unit alone between registers,
`place` measures one point, `campaign` measures many and remembers them, and `model` estimates
what has not been measured.
"""
