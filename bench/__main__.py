"""``python -m bench [NAME...] [--json FILE]``: run all benchmarks, or those named.

``bench_NAME.py`` holds ``tables()``, which measures and returns what `bench.harness.show` prints.
"""

import argparse
import json
import platform
from importlib import import_module
from pathlib import Path

from bench.harness import show


def main() -> None:
    names = sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("name", nargs="*", choices=[*names, []], help=", ".join(names))
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the values there as well")
    options = parser.parse_args()

    machine = f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}"
    print(f"{machine}: median [least - most], ratio to the first row")
    results = {}
    for name in options.name or names:
        tables = list(import_module(f"bench.bench_{name}").tables())
        results[name] = [table.to_json() for table in tables]
        for line in show(tables):
            print(line, flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
