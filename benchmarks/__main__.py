"""Command line of the benchmarks."""

import argparse
import sys
from pathlib import Path

from benchmarks import common

NAMES = (
    "throughput", "methods", "weightings", "seeds", "mass", "company", "sweeps", "memory", "compile", "smax", "theory",
)  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Runs the benchmarks named (all without a name), prints tables, and writes JSON if asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="|".join(NAMES), help="which to run; all by default")
    parser.add_argument(
        "--json", type=Path, default=Path("benchmark.json"), help="tables with versions and hardware (benchmark.json)"
    )
    parser.add_argument("--quick", action="store_true", help="short measurements, to see that all of it runs")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in NAMES:
            parser.error(f"unknown benchmark {name!r}; valid: {', '.join(NAMES)}")
    if refused := common.refusal(options.json):
        sys.stderr.write(f"{parser.prog}: {refused}\n")
        return 2
    common.prepare()
    tables = []
    for name in options.names or NAMES:
        module = __import__(f"benchmarks.{name}", fromlist=["run"])
        for table in module.run(quick=options.quick):
            table.show()
            tables.append(table)
    common.write(options.json, tables)
    print(f"written to {options.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
