"""What the command does besides a run: each action with what it takes. No torch here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Action:
    """One option that says what to do."""

    help: str
    example: str
    metavar: str | tuple[str, ...] | None = None  # of what it takes
    nargs: str | int = 1
    options: tuple[str, ...] | None = None  # that go with it; all of them where this is None


ACTIONS = {
    "plan": Action("print the cases, what is cached and the estimated time; run nothing", "--plan"),
    "list": Action("print methods with their hyperparameters, nets, data sets and runtimes", "--list", options=()),
    "report": Action(
        "draw a run's tables and figures again, without torch; of several runs one report of them all (into --out);\n  "
        "--mlflow and --tensorboard log it",
        "--report runs/first, or --report runs/first runs/second",
        "RUN",
        "+",
        ("out", "mlflow", "tensorboard"),
    ),
    "advise": Action(
        "name the row that keeps limits, from the records of RUNs (default: all below runs/): why, its file, and the "
        "command\n  that makes it; device=, net=, dataset=, runtime= choose among rows",
        '--advise "drop<=0.5,size<=4MB,device=cpu", or --advise "accuracy>=98,latency>=2x" runs/first',
        ("GOALS", "RUN"),
        "+",
        (),
    ),
    "compare": Action(
        "hold each row of the run NEW against the same row of OLD; fails where --fail-if is met or a row is gone",
        '--compare runs/before runs/after --fail-if "accuracy<-0.3,size>+2%" --out diff.md',
        ("OLD", "NEW"),
        2,
        ("fail_if", "out"),
    ),
    "evaluate": Action(
        "score and time one artifact again, from the file alone",
        "--evaluate runs/first/artifacts/dct.nnc",
        "FILE",
        options=("data_dir", "device", "threads", "runtimes"),
    ),
    "export": Action(
        "write one artifact in the format --to, reload that file and score it",
        "--export runs/first/artifacts/dct.nnc --to onnx --out dct.onnx",
        "FILE",
        options=("to", "out", "data_dir", "threads"),
    ),
}
# options that need an action, and what to add
ONLY_WITH = {
    "to": ("export", "the file that is written in that format: add --export FILE"),
    "fail_if": ("compare", "two runs to compare: add --compare OLD NEW"),
}
