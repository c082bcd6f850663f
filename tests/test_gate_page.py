"""What `--fail-if` is read as, and what `--compare` shows, writes and exits with."""

import dataclasses
import re

import pytest

from baselines.errors import UsageError
from bench.bounds import Bound, parse_bounds
from bench.command import parse_command
from reports.gate import compare
from reports.gate_page import findings_lines, markdown_diff, result_line, terminal_diff
from reports.run_folders import Run
from run_bench import BAD_USAGE, OK, SOME_FAILED, main
from tests.records_example import RECIPE, example, record, write_run
from tests.test_gate import changed, exactly, resized, slower


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("accuracy<-0.3,size>+2%", (Bound("accuracy", "<", -0.3), Bound("size", ">", 2.0, percent=True))),
        (" accuracy < -0.3 significantly ", (Bound("accuracy", "<", -0.3, significantly=True),)),
        ("size > + 10 KB,size>+10kb", (Bound("size", ">", 10_000.0),)),
        ("latency_ms>+.5ms,params>0", (Bound("latency_ms", ">", 0.0005), Bound("params", ">", 0.0))),
        ("macs>-1e-1%", (Bound("macs", ">", -0.1, percent=True),)),
    ],
)
def test_bounds_are_read(text, bounds):
    assert parse_bounds(text) == bounds


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "cannot read ''"),
        ("accuracy", "cannot read 'accuracy'"),
        ("accuracy<-0.3,", "cannot read ''"),
        ("acuracy<-0.3", "did you mean 'accuracy'"),
        ("drop>+0.3", "write accuracy<-0.3"),
        ("accuracy<0.3", "has a sign: write accuracy<-0.3"),
        ("size>2%", "has a sign: write size>+2%"),
        ("accuracy<=-0.3", "write accuracy<-0.3"),
        ("accuracy<-0.3%", "in points, without a unit"),
        ("accuracy<nan", "write accuracy<-0.3"),
        ("accuracy<-inf", "write accuracy<-0.3"),
        ("size>+2", "size takes %, b, kb, mb, kib, mib"),
        ("size>+2furlongs", "size takes %"),
        ("latency>+2ms", "for plain time latency_ms>+0.5ms"),
        ("latency_b32>+2ms", "for plain time latency_ms_b32>+0.5ms"),
        ("size>+2% significantly", "only a change of accuracy can be significant"),
    ],
)
def test_wrong_bounds_say_what_to_type(text, says):
    with pytest.raises(UsageError, match=re.escape(says)) as caught:
        parse_command(["--compare", "a", "b", "--fail-if", text])
    assert "\n" not in str(caught.value)


def test_a_table_names_each_row_once_and_what_fails_first():
    old = example((0, 1, 2))
    new = [slower(one, 2.0) for one in changed(old, "prune", lambda one: exactly(one, 300, 1000)) if one.chain != "ptq"]
    found = compare(old, new, parse_bounds("accuracy<-0.3,latency>+10%,params>0"))
    lines = terminal_diff(found, "")
    assert len(lines) == 1 + 10
    assert lines[0].split()[-2:] == ["runtime", "row"]
    assert [line.split()[0] for line in lines[1:3]] == ["FAILS", "FAILS"]
    assert sum("MISSING" in line for line in lines) == 2
    states = [line.split()[0] in ("FAILS", "MISSING") for line in lines[1:]]
    assert states == sorted(states, reverse=True)
    assert result_line(found) == "FAILS: 8 of 10 rows of OLD: 2 missing, 2 beyond accuracy<-0.3, 6 beyond latency>+10%"
    assert "latency>+10%: " in "\n".join(findings_lines(found))
    assert findings_lines(found, most=3)[3].startswith("FAILS ")


def test_a_crowd_is_cut_on_the_terminal_but_what_fails_is_there_and_all_is_in_the_file(tmp_path):
    old = [record("dense"), *(record(f"dct:keep=0.{k}", like="dct") for k in range(100, 160))]
    new = changed(old, "dct:keep=0.159", lambda one: resized(one, 10**9))
    found = compare(old, new, parse_bounds("size>+2%"))
    lines = terminal_diff(found, "")
    assert lines[1].endswith("dct:keep=0.159")
    assert lines[-1] == "82 rows more, none of which fails: --out FILE.md has all"
    text = markdown_diff(found, *(Run(tmp_path, tuple(side), "c") for side in (old, new)))
    assert text.count("\n| ") == 2 + 122


def test_the_command_prints_the_table_writes_the_comment_and_says_by_its_exit_code_what_came_of_it(tmp_path, capsys):
    old, new, out = tmp_path / "old", tmp_path / "new", tmp_path / "made" / "diff.md"
    write_run(old, example())
    otherwise = {"recipe": RECIPE | {"epochs": 7}, "environment": {"threads": 2}}
    larger = changed(example(), "prune", lambda one: resized(one, 10**9))
    write_run(new, [dataclasses.replace(one, **otherwise) for one in larger])
    bound = ["--fail-if", "size>+2%"]
    assert main(["--compare", str(old), str(old), *bound]) == OK
    assert capsys.readouterr().out.splitlines()[-1] == (
        "passes: 10 rows of OLD; none beyond size>+2%; none missing or gone wrong"
    )
    assert main(["--compare", str(old), str(new), *bound, "--out", str(out)]) == SOME_FAILED
    shown, text = capsys.readouterr().out, out.read_text()
    last = "FAILS: 2 of 10 rows of OLD: 2 beyond size>+2%"
    assert shown.splitlines()[-1] == last
    assert text.splitlines()[0] == f"**{last.replace('>', chr(92) + '>')}**"
    for part in (shown, text):
        assert "The two differ in threads" in part
        assert "was trained otherwise: epochs 6 → 7" in part
    assert "**prune** | onnxruntime | FAILS size\\>+2%" in text
    assert main(["--compare", str(old), str(new)]) == OK, "no bound, nothing gone"
    write_run(new, [one for one in example() if one.chain != "qat"])
    assert main(["--compare", str(old), str(new)]) == SOME_FAILED


def test_what_cannot_be_compared_ends_with_2_and_one_line(tmp_path, capsys):
    write_run(tmp_path / "a", example())
    here = str(tmp_path / "a")
    for arguments in (
        ["--compare", here], ["--compare", here, here, here], ["--compare", here, "nowhere"],
        ["--compare", here, here, "--out", str(tmp_path)], ["--compare", here, here, "--net", "x"],
        ["--fail-if", "size>+2%"], ["--compare", here, here, "--fail-if", "sise>+2%"],
        ["--compare", here, here, "--out", f"{here}/plan.json/diff.md"],
    ):  # fmt: skip
        assert main(arguments) == BAD_USAGE
        captured = capsys.readouterr()
        assert captured.out == ""
        assert re.fullmatch(r"run_bench.py: .*\n", captured.err)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"], "nothing half written is left"
