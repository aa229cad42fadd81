"""Would the benches notice a broken unit? Mutants of its netlist, run, counted and explained."""
