"""Publishes a finished run as a study: `python -m bench.publish RUN docs/studies/NAME`.

Copies what the run generated (report, tables, figures, records) and nothing else; nothing is typed by hand. A run made
from a changed checkout says so in its records, and is refused unless `--changed` is given.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from bench.records import read_record

_COPIED_IF_THERE = (
    *("ledger.csv", "steps.csv", "chains.csv", "search.csv", "table_seeds.csv", "table_seeds.md", "table_seeds.tex"),
    *("search.json", "matched.json"),  # without which --report could not draw their sections again
)
_COPIED = ("report.md", "table.csv", "table.md", "table.tex", "plan.json")


def publish(run: Path, target: Path, *, changed: bool = False) -> list[Path]:
    """Copies the run's report to `target`, which it replaces; returns the files.

    Raises:
        ValueError: the run is not finished, or comes from a checkout with changes that were not committed.
    """
    if not (run / "report.md").is_file():
        raise ValueError(f"{run} has no report.md: let the run finish, or draw it with run_bench.py --report {run}")
    cases = json.loads((run / "plan.json").read_text(encoding="utf-8"))["cases"]
    records = [read_record(run / "records" / f"{case}.json") for case in cases]
    if any(record.environment.get("commit_dirty") for record in records) and not changed:
        raise ValueError(f"{run} was made from a checkout with changes: commit them and run again, or pass --changed")
    if target.exists():
        shutil.rmtree(target)
    (target / "records").mkdir(parents=True)
    wanted = (
        [run / name for name in _COPIED]
        + [run / name for name in _COPIED_IF_THERE if (run / name).is_file()]
        + [run / "records" / f"{case}.json" for case in cases]
    )
    figures = sorted((run / "figures").glob("*"))
    copied = []
    for source in [*wanted, *figures]:
        goal = target / source.relative_to(run)
        goal.parent.mkdir(exist_ok=True)
        copied.append(Path(shutil.copyfile(source, goal)))
    return copied


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.publish", description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--changed", action="store_true", help="also publish a run made from a changed checkout")
    typed = parser.parse_args()
    try:
        for path in publish(typed.run, typed.target, changed=typed.changed):
            print(path)
    except ValueError as error:
        print(f"bench.publish: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
