"""What batches cost, and what they survive: python benchmarks/batches [scale] [outage] [--lines N].

`scale`: a manifest of a million lines against a transport that answers at once, stored on a RAM disk where
there is one: jobs a second, peak memory beside that of a thousand lines, the time of the same command again.
`outage`: a minute without the service in the middle of 2,000 jobs, in real time, over real sockets.
"""

from __future__ import annotations

import argparse

import outage
import scale


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", choices=["scale", "outage", []], help="default: both")
    parser.add_argument("--lines", type=int, default=1_000_000, help="of the large manifest")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the outage")
    given = parser.parse_args()
    if not given.what or "scale" in given.what:
        scale.measure(given.lines)
    if not given.what or "outage" in given.what:
        outage.measure(given.seconds)


if __name__ == "__main__":
    main()
