"""The selftest on the GPU, with its results one a line; --reduced leaves out what a sanitizer makes too slow."""

import argparse
import sys

from tesela import selftest


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--reduced", action="store_true")
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    chosen = selftest.checks(args.device)
    if args.reduced:  # one check for each operator
        chosen = list({check.op: check for check in reversed(chosen)}.values())
    failed = 0
    for result in selftest.run(args.device, chosen):
        failed += not result.passed
        print("ok    " if result.passed else "FAILED", result)
    print(f"{len(chosen) - failed} of {len(chosen)} checks passed on {args.device}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
