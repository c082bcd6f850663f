"""Compress a network in several ways and get a table and figures to trust: `python run_bench.py --help`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from baselines.collector import collector_off
from baselines.errors import UsageError
from bench.command import Command, parse_command
from bench.measure.process import TRAINING_VARIABLES
from bench.records import RunRecord
from bench.supervisor import command_of, follow_supervisor, is_supervised, supervise

if TYPE_CHECKING:
    from bench.job import Job
    from bench.progress import Watcher
    from bench.tracking import Tracking

MOST_LINES = 40  # of what fails a comparison
RUNS = Path("runs")  # below which runs lie unless --out says
_GO_ON = "the same command goes on from there"
OK, SOME_FAILED, BAD_USAGE, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    console = Console(highlight=False)
    try:
        command = parse_command(sys.argv[1:] if arguments is None else arguments)
        actions = {
            "run": run, "plan": show_plan, "list": show_list, "report": report, "evaluate": evaluate, "export": export,
            "advise": advise, "compare": compare,
        }  # fmt: skip
        return actions[command.action](command, console)
    except UsageError as error:
        print(f"run_bench.py: {error}", file=sys.stderr)
        return BAD_USAGE
    except KeyboardInterrupt:
        print("run_bench.py: interrupted", file=sys.stderr)
        return INTERRUPTED


def run(command: Command, console: Console) -> int:
    """Trains, compresses, measures and reports."""
    with collector_off():
        from bench.cluster.entry import machines_for
        from bench.folders import no_more_room, released
        from bench.inputs import make_job
        from bench.progress import progress
        from bench.tracking import tracking
        from methods import METHODS

    trackers = tracking(command.options)
    with released():
        with progress(console) as watcher, machines_for(command.options) as device:
            watcher.say("reading data and planning")
            job = make_job(command, METHODS, watcher.say, device)
            try:
                job, records = _run(command, job, watcher, trackers)
            except KeyboardInterrupt:
                choosing = command.options.at or command.options.search  # in a folder of its own
                where = "" if choosing else f" in {job.out}"
                watcher.say(f"interrupted: finished cases and epochs are kept{where}; {_GO_ON}")
                return INTERRUPTED
        try:
            drawn = _show(records, job.out, command, console)
        except KeyboardInterrupt:
            console.print(f"interrupted: all cases are kept in {job.out}, its report is not drawn; {_GO_ON}")
            return INTERRUPTED
        except OSError as error:
            raise UsageError(no_more_room(error, [job.out]) or str(error)) from error
        _log(records, drawn, trackers, console)
    failed = any(_problems([one]) for one in records if not _may_be(one))
    return SOME_FAILED if failed or _searched_in_vain(command, job.out) else OK


def _searched_in_vain(command: Command, out: Path) -> bool:
    """Whether no chain that `--search` tried keeps the limits."""
    from reports.loading import SEARCHED, read_choice

    return command.options.search is not None and not read_choice(out / SEARCHED)["winner"]


def _run(command: Command, job: Job, watcher: Watcher, trackers: Tracking) -> tuple[Job, list[RunRecord]]:
    from bench.cluster.entry import runner_for
    from bench.job import claim
    from methods import METHODS

    job = _chosen(command, job, watcher)
    claim(job)
    trackers.begin(job.out, watcher.say)
    return job, runner_for(job, METHODS, watcher, trackers.case).run()


def _show(records: Sequence[RunRecord], out: Path, command: Command, console: Console) -> list[Path]:
    """Draws the report, and prints the table and what did not run. Returns the files."""
    import reports

    drawn = reports.draw(records, out, title=_title(records), command=command.typed)
    console.print(reports.terminal_table(records, console.width))
    _say_where(out, console)
    for record in records:
        for line in _problems([record]):
            console.print(line, markup=False, soft_wrap=True)
    return drawn


def _log(records: Sequence[RunRecord], drawn: Sequence[Path], trackers: Tracking, console: Console) -> None:
    for line in trackers.report(records, drawn):
        console.print(line, markup=False, soft_wrap=True)


def _may_be(record: RunRecord) -> bool:
    """Whether it is no failure of the run: a row that nobody typed, such as another order, may be refused."""
    return record.role != "asked" and record.status == "refused"


def _chosen(command: Command, job: Job, watcher: Watcher) -> Job:
    """The job as it is, or of the chains that `--at` or `--search` choose."""
    from bench.choosing import matched_job
    from bench.searching import searched_job
    from methods import METHODS

    if command.options.at:
        return matched_job(command, job, METHODS, watcher)
    if command.options.search:
        return searched_job(command, job, METHODS, watcher)
    return job


def _problems(records: Sequence[RunRecord]) -> list[str]:
    """A line for each case, or runtime of a case, that did not run."""
    lines = []
    for record in records:
        name = f"{record.label} (seed {record.seed})"
        if record.status != "ok":
            lines.append(f"{name} {record.status}: {record.reason}")
        bad = [result for result in record.runtimes if result.status != "ok"]
        lines += [f"{name} in {result.runtime} {result.status}: {result.reason}" for result in bad]
    return lines


def _say_where(folder: Path, console: Console) -> None:
    """The report as a file to read, and as a page to open in a browser."""
    console.print(f"page: {folder / 'report.html'}", soft_wrap=True)
    console.print(f"report: {folder / 'report.md'}", soft_wrap=True)


def _title(records: Sequence[RunRecord]) -> str:
    return ", ".join(dict.fromkeys(f"{one.net} on {one.dataset}" for one in records))


def show_plan(command: Command, console: Console) -> int:
    """Prints the cases, what is cached and the estimated time; runs nothing."""
    if command.options.at or command.options.search:
        raise UsageError("--plan knows no chains that are still to be chosen: leave out --at and --search")
    from bench.estimate import cached, plan_seconds
    from bench.inputs import make_job
    from bench.job import finished
    from bench.progress import clock
    from methods import METHODS

    job = make_job(command, METHODS, console.print)
    recorded = {case.id for case in job.plan.cases if finished(job, case)}
    have = cached(job.plan, job.sizes, job.cache.has)
    seconds = plan_seconds(job.plan, job.sizes, have, recorded)
    for case in job.plan.cases:
        there = sum(stage in have for stage in case.stage_ids)
        state = "done" if case.id in recorded else f"{there} of {len(case.stage_ids)} stages cached"
        state = f"refused: {case.refusal}" if case.refusal else state
        line = f"{case.id}  seed {case.seed}  {clock(seconds[case.id]):>8}  {case.role:<8}  {state:<24} {case.text}"
        console.print(line, markup=False, soft_wrap=True)
    console.print(f"{len(job.plan.cases)} cases, about {clock(sum(seconds.values()))} (h:mm:ss or m:ss) into {job.out}")
    return OK


def show_list(command: Command, console: Console) -> int:
    """Prints methods with their hyperparameters, nets, data sets and runtimes."""
    from baselines.data import DATASETS
    from baselines.nets import NETS
    from bench.exporting import FORMATS
    from bench.listing import methods_table, names_table
    from bench.runtimes import RUNTIMES
    from methods import METHODS

    console.print(methods_table(METHODS))
    about_nets = "any torchvision classifier (resnet18, mobilenet_v2, ...), timm:NAME, path/to/file.py:factory"
    console.print(names_table("networks (--net)", NETS, about_nets))
    about_data = (
        "options: NAME:train=N takes about N of the training images, NAME:size=N scales to NxN pixels; "
        "fake:classes=10:size=32:channels=3:count=2000"
    )
    console.print(names_table("data sets (--dataset)", DATASETS, about_data))
    console.print(names_table("runtimes (--runtimes)", RUNTIMES))
    console.print(names_table("formats (--to)", FORMATS))
    return OK


def report(command: Command, console: Console) -> int:
    """Draws a run's tables and figures again from its records, or those of several runs as one."""
    import reports
    from bench.tracking import tracking

    out = command.options.out
    trackers = tracking(command.options)
    try:
        folder = reports.join(command.targets, out) if out else command.targets[0]
        records, typed = reports.load_run(folder)
        drawn = reports.draw(records, folder, title=_title(records), command=typed)
    except ValueError as error:  # a damaged file of the run
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"{error.filename} cannot be written: {error.strerror}") from error
    console.print(reports.terminal_table(records, console.width))
    _say_where(folder, console)
    trackers.begin(folder, console.print)
    _log(records, drawn, trackers, console)
    return OK


def advise(command: Command, console: Console) -> int:
    """Names the row that keeps the limits, from the records at hand; runs nothing."""
    from bench.remaking import remade, searching
    from reports.advice import advise
    from reports.advice_text import Commands, advice_text
    from reports.run_folders import runs_at

    assert command.question
    try:
        runs, said = runs_at(command.targets, RUNS)
        answers = advise(runs, command.question)
    except ValueError as error:
        raise UsageError(f"--advise: {error}") from error
    for line in [*said, advice_text(answers, Commands(remade, searching))]:
        console.print(line, markup=False, soft_wrap=True)
    return OK if any(one.best for one in answers) else SOME_FAILED


def compare(command: Command, console: Console) -> int:
    """Holds a run against an earlier one, row by row; fails where it is worse than it may be."""
    from reports.gate import compare as compared
    from reports.gate_page import findings_lines, markdown_diff, places_lines, result_line, terminal_diff
    from reports.run_folders import run_at
    from reports.style import write_whole

    out = command.options.out
    if out and out.is_dir():
        raise UsageError(f"--out {out} is a folder: name a file, as in diff.md")
    try:
        old, new = (run_at(folder) for folder in command.targets)
        found = compared(old.records, new.records, command.options.fail_if)
        if out:
            write_whole(out, markdown_diff(found, old, new).encode("utf-8"))
    except ValueError as error:
        raise UsageError(f"--compare: {error}") from error
    except OSError as error:
        raise UsageError(f"--out {out} cannot be written: {error.strerror}: name a file, as in diff.md") from error
    lines = [*terminal_diff(found, str(out or "")), "", *places_lines(old, new), *findings_lines(found, MOST_LINES)]
    for line in [*lines, result_line(found)]:
        console.print(line, markup=False, soft_wrap=True)
    return SOME_FAILED if found.failing else OK


def evaluate(command: Command, console: Console) -> int:
    """Scores and times one artifact again, in a fresh process, from the file alone."""
    from bench.evaluate import evaluate_file

    return evaluate_file(command.targets[0], command.options, console)


def export(command: Command, console: Console) -> int:
    """Writes one artifact in another tool's format, and scores what was written."""
    from bench.exporting.command import export_file

    return export_file(command.targets[0], command.options, console)


def _main(arguments: Sequence[str]) -> int:
    """As `main`, a run in a process of its own."""
    try:
        runs = parse_command(arguments).action == "run"
    except UsageError:  # `main` says it
        runs = False
    if not runs or is_supervised():
        if runs:
            follow_supervisor()
        return main(arguments)
    return supervise(command_of(arguments), lambda text: print(text, flush=True))


if __name__ == "__main__":
    os.environ.update({**TRAINING_VARIABLES, **os.environ})  # before anything imports torch
    sys.exit(_main(sys.argv[1:]))
