"""``python -m bench [NAME...] [--quick] [--json FILE]``: run all benchmarks, or those named.

``bench_NAME.py`` holds ``tables()``, which measures and returns what has ``lines()`` to print and ``to_json()``; it
takes ``quick`` if it has a short form.
"""

import argparse
import json
import platform
from importlib import import_module
from inspect import signature
from pathlib import Path


def main() -> None:
    names = sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("name", nargs="*", choices=[*names, []], help=", ".join(names))
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the values there as well")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, of those that know how (supervisor)")
    options = parser.parse_args()

    machine = f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}"
    print(f"{machine}: median [least - most], ratio to the first row")
    results = {}
    for name in options.name or names:
        measure = import_module(f"bench.bench_{name}").tables
        how = {"quick": options.quick} if "quick" in signature(measure).parameters else {}
        results[name] = []
        for table in measure(**how):
            results[name].append(table.to_json())
            for line in table.lines():
                print(line, flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
