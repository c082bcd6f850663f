"""What `--advise` asks, says and exits with; and that its command makes the very file again."""

import dataclasses
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from baselines.errors import UsageError
from bench.command import parse_command
from bench.options import Options
from bench.questions import Condition, parse_question
from bench.remaking import command_of, remade, searching
from reports import join
from run_bench import BAD_USAGE, OK, SOME_FAILED, main
from tests.records_example import example, record, sweep, write_run

ROOT = Path(__file__).parents[1]
MADE = "python run_bench.py --net lenet --dataset digits --methods dct,prune --orders --seeds 0,1 --out runs/x --lr 0.2"


@pytest.mark.parametrize(
    ("text", "conditions", "least", "places", "batch"),
    [
        ("drop<=0.5,size<=4MB,device=cpu", (Condition("drop", 0.5), Condition("size", 4e6)), "size",
         (("device", "cpu"),), 1),
        (" latency >= 2x , accuracy>=98 %", (Condition("latency", 2.0, True), Condition("accuracy", 98.0)), "size",
         (), 1),
        ("memory<=1MiB", (Condition("memory", 2.0**20),), "drop", (), 1),
        ("drop<=0,minimise macs,batch=32", (Condition("drop", 0.0),), "macs", (), 32),
        ("size>=8x,net=wrn:depth=16:width=8,dataset=mnist,runtime=eager", (Condition("size", 8.0, True),), "drop",
         (("net", "wrn:depth=16:width=8"), ("dataset", "mnist"), ("runtime", "eager")), 1),
    ],
)  # fmt: skip
def test_questions_are_read(text, conditions, least, places, batch):
    found = parse_question(text)
    assert (found.conditions, found.least, found.places, found.batch) == (conditions, least, places, batch)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "cannot read ''"),
        ("drop<=0.5,", "cannot read ''"),
        ("siez<=4MB", "did you mean 'size'"),
        ("size<=4TB", "size has no unit 'tb'"),
        ("size=8x", "cannot use 'size=8x': write size>=8x"),
        ("size<4MB", "write size<=200KB"),
        ("drop<=nan", "drop has no unit 'nan'"),
        ("drop<=0.5%", "it is in points"),
        ("latency<=0ms", "can be met by nothing"),
        ("accuracy<=98", "write accuracy>=98, in per cent"),
        ("accuracy>=101", "write accuracy>=98"),
        ("accuracy>=x", "write accuracy>=98"),
        ("devise=cpu", "did you mean 'device'"),
        ("drop<=1,device=gpu", "a device is cpu, cuda or cuda:N"),
        ("drop<=1,net=", "net= names nothing"),
        ("drop<=1,device=cpu,device=cuda", "names two of device"),
        ("drop<=1,batch=8", "measured at batch 1 and 32"),
        ("device=cpu", "has no limit to keep: give one, as in --advise"),
        ("minimise size", "has no limit"),
        ("drop<=1,minimise size,minimise macs", "name one"),
        ("drop<=1,minimise accuracy", "knows no quantity 'accuracy'"),
    ],
)
def test_wrong_questions_say_what_to_type(text, says):
    with pytest.raises(UsageError, match=re.escape(says)) as caught:
        parse_command(["--advise", text])
    assert "\n" not in str(caught.value)


def test_the_command_line_takes_a_question_and_runs():
    command = parse_command(["--advise", "drop<=1", "a", "b/c"])
    assert (command.action, command.targets) == ("advise", (Path("a"), Path("b/c")))
    assert command.question == parse_question("drop<=1")
    for arguments, says in (["--advise"], "as in --advise"), (["--advise", "drop<=1", "--net", "x"], "takes no other"):
        with pytest.raises(UsageError, match=says):
            parse_command(arguments)


def told(capsys, *arguments):
    code = main(["--advise", *map(str, arguments)])
    return code, capsys.readouterr().out


def test_an_answer_has_the_row_its_limits_why_its_file_and_the_command(tmp_path, capsys):
    write_run(tmp_path, example((0, 1, 2)), MADE)
    code, text = told(capsys, "drop<=1,size<=12MB", tmp_path)
    assert code == OK
    first = text.splitlines()[0]
    assert first == "resnet18 on digits: prune in onnxruntime on cpu"
    assert "seeds 0, 1, 2" in text
    assert re.search(
        r"drop<=1: kept by the mean, [-0-9.]+ points; the worse end of the interval, [0-9.]+ points, d", text
    )
    assert re.search(r"size<=12MB: kept, .* MB, by the worse end of the interval too", text)
    assert "rows that keep drop<=1, size<=12MB, out of 10 rows at hand" in text
    assert "size<=12MB holds nothing back" in text
    assert "Next best, which keep all limits too" in text
    assert re.search(rf"File: {re.escape(str(tmp_path))}/artifacts/case-prune-\d.cnn \(not there now", text)
    command = text.splitlines()[-1].strip()
    options = parse_command(shlex.split(command)[2:]).options
    assert (options.methods, options.net, options.no_controls, options.orders) == ("prune", "lenet", True, False)
    assert len(options.seeds) == 1


def test_a_file_that_is_there_is_not_said_to_be_missing(tmp_path, capsys):
    records = example()
    write_run(tmp_path, records, MADE)
    (tmp_path / "artifacts").mkdir()
    (tmp_path / records[-1].artifact).write_bytes(b"x")
    assert "not there now" not in told(capsys, "drop<=1", tmp_path)[1]


def test_a_control_and_the_dense_network_are_said_to_be_what_they_are(tmp_path, capsys):
    control = dataclasses.replace(record("half", like="dense", share=0.01), role="half", control_of=("dct",))
    write_run(tmp_path / "a", [*example(), control], MADE)
    text = told(capsys, "drop<=2", tmp_path / "a")[1]
    assert "This is a control (dense in 16 bits)" in text
    assert text.splitlines()[0].startswith("resnet18 on digits: half in ")
    write_run(tmp_path / "b", [record("dense"), record("prune", accuracy=0.5)], MADE)
    text = told(capsys, "drop<=2", tmp_path / "b")[1]
    assert "This is the dense network itself" in text
    assert "`half` is the row that costs least beside it" in text
    assert "drop<=2 keeps 1 chain back that would come before it: first prune in " in text
    assert "kept, 0.00 points, by the worse end" in text
    assert text.splitlines()[-1].split("--methods ")[1].split()[0] == "half"


def test_where_no_row_keeps_all_limits_the_nearest_are_named_and_what_to_try(tmp_path, capsys):
    write_run(tmp_path, sweep(), MADE)
    code, text = told(capsys, "drop<=0.5,size<=2MB", tmp_path)
    assert code == SOME_FAILED
    assert "none of 26 rows keeps drop<=0.5, size<=2MB." in text
    assert re.search(
        r"drop<=0.5: \d+ of 26 keep it; of those that keep all else the nearest is prune:sparsity=0.9", text
    )
    assert re.search(r"size<=2MB: \d of 26 keep it; of those that keep all else the nearest is ", text)
    (line,) = [line.strip() for line in text.splitlines() if "--search" in line]
    assert parse_command(shlex.split(line)[2:]).options.search.text == "drop<=0.5,size<=2MB"
    code, text = told(capsys, "accuracy>=99.9,latency>=90x,memory<=1KB", tmp_path)
    assert code == SOME_FAILED
    assert "the dense network itself has 98." in text
    assert "train it longer (--epochs)" in text
    assert text.count("none of 26 keeps it; the nearest is") == 3
    text = told(capsys, "accuracy>=98,size<=100KB", tmp_path)[1]
    assert re.search(r"--search 'size<=100KB,drop<=0\.\d+'", text), "the drop that the accuracy leaves"


def test_of_several_data_sets_each_has_a_short_answer(tmp_path, capsys):
    write_run(tmp_path / "a", example(), MADE)
    other = [
        dataclasses.replace(one, dataset="mnist", case_id=f"m{one.case_id}")
        for one in example()
        if one.chain != "dense"
    ]
    write_run(tmp_path / "b", other, MADE)
    code, text = told(capsys, "drop<=1", tmp_path / "a", tmp_path / "b")
    assert code == OK
    assert "resnet18 on digits: prune in onnxruntime" in text
    assert "resnet18 on mnist: none of 8 rows keeps drop<=1." in text
    assert "drop was measured for no row" in text
    assert "net=NAME or dataset=NAME" in text
    assert told(capsys, "drop<=1,dataset=mnist", tmp_path)[0] == SOME_FAILED


def test_a_drop_from_a_worse_dense_network_is_warned_of(tmp_path, capsys):
    write_run(tmp_path / "a", [record("dense", accuracy=0.5), record("prune", accuracy=0.5, share=0.001)], MADE)
    better = [dataclasses.replace(one, case_id=f"b{one.case_id}") for one in example()]
    write_run(tmp_path / "b", better, MADE)
    text = told(capsys, "drop<=2", tmp_path)[1]
    assert re.search(r"Its drop is from a dense network of (49|50)\.\d+ %; that of .*b has 98\.\d+ %", text)
    assert "Its drop is from" not in told(capsys, "drop<=2,accuracy>=90", tmp_path)[1]


def test_what_cannot_be_asked_ends_with_2_and_one_line(tmp_path, capsys):
    write_run(tmp_path, example(), MADE)
    for arguments in (["drop<=1", "nowhere"], ["drop<=1,device=cuda", str(tmp_path)], ["drop<1", str(tmp_path)]):
        assert main(["--advise", *arguments]) == BAD_USAGE
        captured = capsys.readouterr()
        assert captured.out == ""
        assert re.fullmatch(r"run_bench.py: --advise.*\n", captured.err)


def test_it_answers_without_torch(tmp_path):
    write_run(tmp_path / "runs" / "a", example(), MADE)
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.modules['torch'] = None; import run_bench; " \
           "sys.exit(run_bench.main(['--advise', 'drop<=1']))"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (OK, "")
    assert "runs/a/artifacts/case-prune-0.cnn" in done.stdout


@pytest.mark.parametrize("chain", ["dct:keep=0.5", "distill:student='student:widths=8-16'+qat", "xz"])
@pytest.mark.parametrize(
    "typed",
    [MADE, "python run_bench.py", "python run_bench.py --at size=8x --lr 0.1 --data-dir 'my data'",
     "python run_bench.py --search 'size<=25KB,drop<=0.3' --trials 9 --runtimes eager,inductor --pretrained"],
)  # fmt: skip
def test_a_rows_command_is_its_runs_but_for_what_it_does_not_hang_on(typed, chain):
    before = parse_command(shlex.split(typed)[2:]).options
    after = parse_command(shlex.split(remade(typed, chain, 3))[2:]).options
    free = {"methods", "at", "search", "trials", "search_minutes", "out", "seeds", "no_controls", "orders"}
    for option in dataclasses.fields(Options):
        if option.name not in free:
            assert getattr(after, option.name) == getattr(before, option.name)
    assert (after.methods, after.seeds, after.at, after.search, after.out) == (chain, (3,), (), None, None)
    assert parse_command(shlex.split(searching(typed, "drop<=1"))[2:]).options.methods == Options.methods
    assert command_of(before, chain).startswith("python run_bench.py --methods ")


def test_a_command_that_is_not_understood_any_more_is_shown_as_it_was(tmp_path, capsys):
    for typed in ("python run_bench.py --config gone.yaml", "python run_bench.py --old-option 3", "python 'run"):
        assert remade(typed, "dct", 0) == searching(typed, "drop<=1") == ""
    write_run(tmp_path, example(), "python run_bench.py --config gone.yaml")
    text = told(capsys, "drop<=1", tmp_path)[1]
    assert "not understood any more:\n  python run_bench.py --config gone.yaml" in text


def test_of_a_report_of_several_runs_the_command_is_that_of_the_rows_own(tmp_path, capsys):
    write_run(tmp_path / "a", example(), "python run_bench.py --net resnet18 --lr 0.1")
    other = [dataclasses.replace(one, net="lenet", case_id=f"l{one.case_id}") for one in example()]
    write_run(tmp_path / "b", other, "python run_bench.py --net lenet --lr 0.3")
    both = join([tmp_path / "a", tmp_path / "b"], tmp_path / "both")
    for net, rate in (("resnet18", "0.1"), ("lenet", "0.3")):
        assert f"--lr {rate}" in told(capsys, f"drop<=1,net={net}", both)[1].splitlines()[-1]
    for folder in ("a", "b"):
        shutil.rmtree(tmp_path / folder)
    for net, rate in (("resnet18", "0.1"), ("lenet", "0.3")):
        assert f"--lr {rate}" in told(capsys, f"drop<=1,net={net}", both)[1].splitlines()[-1], "the runs are gone"


def test_the_command_makes_the_very_file_again(tmp_path, monkeypatch, capsys):
    """With nothing from the cache."""
    monkeypatch.chdir(tmp_path)

    small = "--net lenet --dataset fake:count=200:size=16:channels=1 --epochs 1 --finetune-epochs 1 --runtimes eager"
    assert main([*small.split(), "--methods", "prune:sparsity=0.5+qat:bits=4", "--seeds", "3", "--no-controls"]) == OK
    capsys.readouterr()
    text = told(capsys, "drop<=100,size>=2x")[1]
    named = re.search(r"File: (\S+)\n.*sha256 (\w+)", text)
    assert Path(named[1]).is_file()
    assert main([*shlex.split(text.splitlines()[-1])[2:], "--out", "again", "--cache", "fresh"]) == OK
    plan = json.loads(Path("again/plan.json").read_text())
    made = [json.loads(Path(f"again/records/{case}.json").read_text()) for case in plan["cases"]]
    assert [one["chain"] == "dense" for one in made] == [True, False], "dense and the row alone"
    assert made[1]["sha256"] == named[2]
