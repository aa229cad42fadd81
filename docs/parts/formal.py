"""The table of proofs, from the JSON that `make formal` wrote."""

from __future__ import annotations

import json
from pathlib import Path

RESULT = Path(__file__).resolve().parents[1] / "results" / "formal.json"


def table(path: Path = RESULT) -> str:
    """Return one row per group of proofs: how many, what they say, how far they reach."""
    result = json.loads(path.read_text())
    groups: dict[tuple[str, str, str], list[dict]] = {}
    for proof in result["proofs"]:
        group = proof["name"].partition("/")[0]
        groups.setdefault((group, proof["says"], proof["method"]), []).append(proof)
    lines = [
        "| group | what is claimed | proofs | holds | seconds |",
        "|---|---|---:|---|---:|",
    ]
    for (group, says, method), proofs in groups.items():
        proved = sum(proof["outcome"] == "proved" for proof in proofs)
        count = f"{proved}" if proved == len(proofs) else f"{proved} of {len(proofs)}"
        clocks = sorted({proof["clocks"] + 1 for proof in proofs})
        reach = f"{clocks[0]} clocks" if len(clocks) == 1 else f"{clocks[0]} to {clocks[-1]} clocks"
        holds = reach if method == "bounded" else "ever"
        seconds = sum(proof["seconds"] for proof in proofs)
        lines.append(f"| `{group}` | {says} | {count} | {holds} | {seconds:.0f} |")
    proved = sum(proof["outcome"] == "proved" for proof in result["proofs"])
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    count, catalogue = len(result["proofs"]), result["catalogue"]
    whole = count == catalogue
    command = "make formal" if whole else "python -m upshift_sim.formal --quick --json"
    return (
        "\n".join(lines)
        + f"\n\n{proved} of {count} proofs succeed, in {result['seconds']:,.0f} s on one core"
        + (
            ""
            if whole
            else f"; {catalogue - count} more have not been carried out on this gateware"
        )
        + f".\n\nRun on {result['date']} by `{command}`: {versions}.\n"
    )
