"""The process that runs torchrun: `python -m bench.ranks.torchrun COUNT FOLDER`.

torchrun tells of a rank that a signal ended in the text of a log alone; called from Python it raises what it knows.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bench.ranks.ending import end_when_closed


def main() -> None:
    end_when_closed(sys.stdin.fileno())
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    count, shared = sys.argv[1:]
    here = ["--standalone", "--local-addr", "127.0.0.1", "--log-dir", shared, "--nproc-per-node", count]
    try:
        run.run(run.parse_args([*here, "-m", "bench.ranks.rank", shared]))
    except ChildFailedError as error:
        from bench.ranks.messages import write_exit_codes

        write_exit_codes({rank: failure.exitcode for rank, failure in error.failures.items()}, Path(shared))
        sys.exit(1)


if __name__ == "__main__":
    main()
