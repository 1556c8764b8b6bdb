"""What a run remembers of the user's programs: the first stay, later ones are added, hints name them."""

import hashlib
import json

import pytest

from kdjax import configs
from kdjax.checks import UserError
from kdjax.extensions import Extensions
from kdjax.folder import RunFolder
from kdjax.train.programs import changes, check_known_network, place_of, remember

NETWORK = "NETWORKS = {'small_of_record': lambda: None}\n"
SCHEDULE = "SCHEDULES = {'flat_of_record': lambda steps: None}\n"


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def run(tmp_path):
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


@pytest.fixture
def program(tmp_path):
    """The function that writes a program and returns what it adds."""

    def write(text, name="of_record.py"):
        (tmp_path / name).write_text(text)
        return configs.program(str(tmp_path / name))

    return write


def files(run):
    return {path.name: path.read_text() for path in run.iterdir()}


def test_the_first_record_stays_and_a_changed_program_is_added(run, program):
    assert remember(run, program(NETWORK)) == ""
    first = files(run)
    assert remember(run, program(NETWORK)) == ""
    assert files(run) == first
    edited = f"{NETWORK}# edited\n"
    assert remember(run, program(edited)).endswith(
        f"of_record.py has changed since {run} was begun"
    )
    facts = json.loads((run / "program.json").read_text())
    assert facts["sha256"] == digest(NETWORK)
    assert [each["sha256"] for each in facts["later"]] == [digest(edited)]
    assert (run / "program.txt").read_text() == NETWORK
    assert (run / facts["later"][0]["copy"]).read_text() == edited
    # as it is by now
    second = files(run)
    assert remember(run, program(edited)) == ""
    assert files(run) == second
    # back again is a change as well
    assert "has changed" in remember(run, program(NETWORK))
    assert len(json.loads((run / "program.json").read_text())["later"]) == 2
    assert set(files(run)) == {"program.json", "program.txt", "program-2.txt", "program-3.txt"}


def test_nothing_is_written_to_a_finished_run(run, program):
    remember(run, program(NETWORK))
    RunFolder(run).finish({"step": 3})
    before = files(run)
    assert "has changed" in remember(run, program(NETWORK + SCHEDULE))
    assert files(run) == before


def test_a_record_of_an_earlier_version_is_read(run, program):
    facts = {"program": "of_record.py", "sha256": digest(NETWORK), "own": {"networks": ["x"]}}
    (run / "program.json").write_text(json.dumps(facts))
    assert remember(run, program(NETWORK)) == ""
    assert json.loads((run / "program.json").read_text()) == facts
    assert "has changed" in remember(run, program(SCHEDULE))
    assert json.loads((run / "program.json").read_text())["later"][0]["sha256"] == digest(SCHEDULE)


def unknown(run, name="small_of_record", extensions=None):
    config = configs.load("kd:resnet_tiny")
    config.student.network = name
    with pytest.raises(UserError) as caught:
        check_known_network(run, config, extensions or Extensions())
    return str(caught.value)


@pytest.mark.parametrize("is_first", [True, False])
def test_of_two_programs_the_one_that_has_the_network_is_named(run, program, tmp_path, is_first):
    both = [program(NETWORK, "net_of_record.py"), program(SCHEDULE, "other_of_record.py")]
    one, other = both if is_first else both[::-1]
    joined = one.join(other)
    remember(run, joined)
    assert f"--program={tmp_path}/net_of_record.py, or Run(folder, extensions)" in unknown(run)
    facts = json.loads((run / "program.json").read_text())
    copies = [(run / each["copy"]).read_text() for each in (facts, *facts["beside"])]
    assert copies == ([NETWORK, SCHEDULE] if is_first else [SCHEDULE, NETWORK])
    assert remember(run, joined) == ""
    changed = remember(run, program(f"{SCHEDULE}\n", "other_of_record.py").join(both[0]))
    assert changed == f"{tmp_path}/other_of_record.py has changed since {run} was begun"


def test_a_file_is_named_from_any_folder_and_a_module_as_it_was(run, tmp_path, monkeypatch):
    (tmp_path / "own package").mkdir()
    (tmp_path / "own package" / "net_from_afar.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path / "own package")
    remember(run, configs.program("net_from_afar.py"))
    monkeypatch.chdir(tmp_path)
    assert f"--program='{tmp_path}/own package/net_from_afar.py', or " in unknown(run)
    extensions = Extensions(networks={"mine": lambda: None}, program="a.b", source="/a/b.py")
    remember(run, extensions)
    assert json.loads((run / "program.json").read_text())["later"][0]["program"] == "a.b"
    assert "--program=a.b, or Run(folder, extensions)" in unknown(run, "mine")


def test_what_python_handed_in_is_said(run):
    remember(run, Extensions(networks={"mine": lambda: None}))
    line = unknown(run, "mine")
    assert "'mine', that Python handed in; give it again: --program=FILE.py, or Run(" in line


def test_programs_put_together_are_known_apart(program):
    first, second = program(NETWORK, "first_of_two.py"), program(SCHEDULE, "second_of_two.py")
    both = first.join(second)
    assert both.apart() == (first, second)
    assert both.join(first).join(second).apart() == (first, second)
    assert first.join(Extensions()).apart() == (first,)


def test_an_error_is_placed_in_either_program(program):
    one = program("def fail(): raise ValueError\nNETWORKS = {'a': fail}", "fails_of_record.py")
    two = program(SCHEDULE, "other_of_record.py")
    with pytest.raises(ValueError) as caught:
        one.networks["a"]()
    for joined in (one.join(two), two.join(one)):
        assert place_of(caught.value, joined) == " (fails_of_record.py, line 1)"


def test_what_a_program_imports_beside_itself_is_of_it(run, program, tmp_path):
    """Another process reads both anew; here the module is changed under the program's feet."""
    (tmp_path / "beside_of_record.py").write_text("SCALE = 1\n")
    (tmp_path / "far").mkdir()
    text = "import beside_of_record, json\ndef small(): return beside_of_record.SCALE\nNETWORKS = {'small': small}\n"
    own = program(text, "with_helper.py")
    assert remember(run, own) == ""
    assert changes(run, own) == ""
    (tmp_path / "beside_of_record.py").write_text("SCALE = 100\n")
    assert changes(run, own) == f"{tmp_path}/with_helper.py has changed since {run} was begun"


def one(student, teachers):
    return 1


def other(student, teachers):
    return 2


def test_what_python_handed_in_is_told_apart_by_its_source(run):
    remember(run, Extensions(methods={"mine": one}))
    before = files(run)
    assert "return 1" in before["program.txt"]
    assert changes(run, Extensions(methods={"mine": one})) == ""
    told = changes(run, Extensions(methods={"mine": other}))
    assert told == f"what Python handed in has changed since {run} was begun"
    assert files(run) == before
