"""`make bench`: medians over repeated runs, in one run of this program, as ratios to the floor.

`--hosts 20,100` sizes, `--runs N` counted runs of the fast contenders, `--forks N`; `--quick` leaves out the slow ones.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable

from bench import contenders
from bench.commit import FILES, commit_cost
from bench.contenders import Timing
from bench.fleet import fleet

# The slow contenders are run once, at the smallest fleet: they take minutes.
SLOW: dict[str, Callable[..., Timing]] = {
    "ansible-playbook, builtin tasks": contenders.builtin,
    "pyinfra --dry, file operations": contenders.pyinfra,
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--hosts", default="20,100")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--forks", type=int, default=20)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("bench: it starts an sshd that logs a user in with root's rights, and that needs root")
    sizes = [int(size) for size in options.hosts.split(",")]
    print(f"{os.cpu_count()} cores, {options.forks} forks, medians of {options.runs} runs after one warm-up")
    with fleet(max(sizes)) as hosts:
        for size in sizes:
            contenders.sweep(hosts, size, options.forks)
            pairs = [
                (contenders.sweep(hosts, size, options.forks), contenders.floor(hosts, size, options.forks))
                for _ in range(options.runs)
            ]
            seconds = statistics.median(pair[0].seconds for pair in pairs)
            lowest = statistics.median(pair[1].seconds for pair in pairs)
            ratio = statistics.median(pair[0].seconds / pair[1].seconds for pair in pairs)
            decided = sum(len(verdicts) for verdicts in contenders.verdicts(pairs[0][0]).values())
            memory = max(pair[0].memory for pair in pairs)
            print(f"{size} hosts: floor (ssh host python3 -c pass) {lowest:.2f} s")
            said = f"sweep {seconds:.2f} s, {ratio:.2f} x floor, {decided} verdicts, {memory:.0f} MiB"
            print(f"{size} hosts: {said}")
        smallest = min(sizes)
        if not options.quick:
            base = statistics.median(contenders.sweep(hosts, smallest, options.forks).seconds for _ in range(3))
            for name, contender in SLOW.items():
                taken = contender(hosts, smallest, options.forks).seconds
                said = f"{name} ({len(contenders.PATHS)} checks) {taken:.1f} s, {taken / base:.1f} x sweep"
                print(f"{smallest} hosts: {said}")
        swept = contenders.verdicts(contenders.sweep(hosts, smallest, options.forks))
        carried = contenders.verdicts(contenders.sweep(hosts, smallest, options.forks, "ansible"))
        print(f"{smallest} hosts: both carriers gave {'equal' if swept == carried else 'DIFFERENT'} verdicts")
        if swept != carried:
            raise SystemExit(1)
    cost = commit_cost(max(15, options.runs))
    said = f"a commit of {FILES} files {cost.commit:.0f} ms, ssh host python3 -c pass {cost.floor:.0f} ms"
    ratio = cost.commit / cost.floor
    print(f"1 host with systemd: {said}: it adds {cost.added:.0f} ms, {ratio:.2f} x, one round trip each")


main()
