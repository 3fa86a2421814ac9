"""Baselines that last: names, links, machines, versions, and maps without numbers."""

import json
import os

import pytest

BODY = """
from collections import OrderedDict
import os

class Net(nn.Module):
    def __init__(self, name):
        super().__init__()
        torch.manual_seed(0)
        self.add_module(name, nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))
        self.head = nn.Conv2d(4, 2, 3)
        self.name = name

    def forward(self, x):
        return self.head(getattr(self, self.name)(x))

@pytest.fixture
def model():
    net = Net({name!r}).eval()
    {change}
    return net

@pytest.mark.capture("**")
def test_table(model, photo, feature_maps, feature_snapshot):
    model(photo)
    assert feature_maps == feature_snapshot({options})
"""
TABLE = "__snapshots__/test_it/test_table.jsonl"


@pytest.fixture
def project(pytester, write):
    """A project with one table, whose model can be changed."""

    class Project:
        table = pytester.path / TABLE

        def run(self, *arguments, name="backbone", options="", change=""):
            write(BODY.format(name=name, options=options, change=change))
            return pytester.runpytest("-p", "no:cacheprovider", *arguments)

        def record(self):
            self.run("--snapshot-update").assert_outcomes(passed=1)
            return self.table.read_bytes()

        def keys(self):
            return [json.loads(line)["key"] for line in self.table.read_bytes().splitlines()[1:]]

    return Project()


# --- names --------------------------------------------------------------------------------------


def test_a_declared_name_passes_and_an_update_records_it_and_nothing_else(project):
    before = project.record()
    project.run(name="encoder").assert_outcomes(failed=1)
    declared = {"name": "encoder", "options": "rename={'backbone': 'encoder'}"}
    project.run(**declared).assert_outcomes(passed=1)
    assert project.table.read_bytes() == before

    project.run("--snapshot-update", **declared).assert_outcomes(passed=1)
    assert project.keys() == ["encoder.0", "encoder.1", "encoder", "head"]
    assert project.table.read_bytes() == before.replace(b'"key":"backbone', b'"key":"encoder')
    project.run(name="encoder").assert_outcomes(passed=1)

    result = project.run(**declared)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E * rename={'backbone': 'encoder'} fits no key of the baseline.",
            "E * If it was updated since and has the new names, take rename= away.",
        ]
    )


def test_a_declared_name_hides_no_change(project):
    project.record()
    result = project.run(
        name="encoder",
        options="rename={'backbone': 'encoder'}",
        change="net.encoder[0].weight.data *= 1.1",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["E * encoder.0 (baseline: backbone.0) changed first: relative L2 change *"]
    )
    result.stdout.fnmatch_lines(["  renamed as declared: backbone → encoder (3 maps)"])


def test_a_name_is_not_declared_for_a_picture(project, write, pytester):
    write(
        """
        @pytest.mark.capture("relu")
        def test_picture(model, photo, feature_maps, feature_snapshot):
            model(photo)
            assert feature_maps["relu"] == feature_snapshot(rename={"a": "b"})
        """
    )
    result = pytester.runpytest("-p", "no:cacheprovider")
    result.stdout.fnmatch_lines(
        [
            "E * rename= is for a table. The file of a picture is named after its feature map: "
            "rename the file."
        ]
    )


def test_a_picture_whose_file_was_renamed_is_that_of_its_new_name(write, pytester):
    body = """
        def test_picture(photo, feature_maps, feature_snapshot):
            net = nn.Sequential(nn.Conv2d(3, 4, 3))
            torch.manual_seed(0)
            nn.init.normal_(net[0].weight)
            nn.init.zeros_(net[0].bias)
            net = nn.ModuleDict({{"{name}": net}})
            feature_maps.attach(net, "{name}")
            net["{name}"](photo)
            assert feature_maps["{name}"] == feature_snapshot
        """
    write(body.format(name="old"))
    pytester.runpytest("-p", "no:cacheprovider", "--snapshot-update").assert_outcomes(passed=1)
    folder = pytester.path / "__snapshots__" / "test_it"
    (folder / "test_picture[old].png").rename(folder / "test_picture[new].png")
    write(body.format(name="new"))
    pytester.runpytest("-p", "no:cacheprovider").assert_outcomes(passed=1)


# --- where they are -----------------------------------------------------------------------------


def accept_line(result):
    (line,) = {
        line.partition("it with: ")[2]
        for line in result.outlines
        if line.startswith("E") and "record it with: " in line
    }
    return line


def test_the_command_repeats_what_decides_where_baselines_are(project, pytester):
    result = project.run("--snapshot-dirname=kept here", "--featuremaps-tolerance=half")
    assert accept_line(result) == (
        "pytest --snapshot-update '--snapshot-dirname=kept here' --featuremaps-tolerance=half "
        "test_it.py::test_table"
    )
    result = pytester.runpytest(
        "-p",
        "no:cacheprovider",
        f"--rootdir={pytester.path.parent}",
        f"--featuremaps-output={pytester.path / 'left'}",  # not beside other tests' folders
    )
    assert accept_line(result) == (
        f"pytest --snapshot-update --rootdir={pytester.path.parent} test_it.py::test_table"
    )


def test_the_command_works_from_the_folder_that_the_run_began_in(project, pytester, monkeypatch):
    project.run()
    pytester.makeini("[pytest]")
    below = pytester.mkdir("below")
    monkeypatch.chdir(below)
    result = pytester.runpytest("-p", "no:cacheprovider", "..")
    command = accept_line(result)
    assert command == "pytest --snapshot-update ../test_it.py::test_table"
    arguments = command.split()[1:]
    pytester.runpytest("-p", "no:cacheprovider", *arguments).assert_outcomes(passed=1)
    assert project.table.exists()


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need rights on Windows")
def test_a_link_inside_the_snapshots_is_written_through_and_one_that_leads_out_is_replaced(
    project, pytester
):
    before = project.record()
    inside = project.table.parent.parent / "shared.jsonl"
    change = "net.head.weight.data *= 1.5"
    project.table.rename(inside)
    project.table.symlink_to("../shared.jsonl")
    project.run("--snapshot-update", "--snapshot-no-cleanup", change=change)
    assert project.table.is_symlink()
    assert inside.read_bytes() != before

    outside = pytester.path / "cache.jsonl"
    outside.write_bytes(before)
    project.table.unlink()
    project.table.symlink_to(outside)
    project.run().assert_outcomes(passed=1)
    project.run("--snapshot-update", "--snapshot-no-cleanup", change=change)
    assert not project.table.is_symlink()
    assert outside.read_bytes() == before
    project.run(change=change).assert_outcomes(passed=1)


# --- machines and versions ----------------------------------------------------------------------


def test_an_update_on_another_machine_changes_the_changed_lines_only(project, monkeypatch):
    before = project.record().splitlines()
    monkeypatch.setattr("torch.__version__", "9.9.9")
    noise = "net.backbone[0].weight.data *= 1 + 1e-6; net.head.weight.data *= 1.5"
    result = project.run(change=noise)
    result.stdout.fnmatch_lines(["*baseline: torch *; here: torch 9.9.9*"])
    project.run("--snapshot-update", change=noise).assert_outcomes(passed=1)
    after = project.table.read_bytes().splitlines()
    assert [a == b for a, b in zip(before, after, strict=True)] == [True] * 4 + [False]


def test_a_baseline_of_a_newer_format_says_so_and_of_an_older_version_is_read(project):
    before = project.record()
    project.table.write_bytes(before.replace(b'{"featuremaps":1', b'{"featuremaps":2', 1))
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["E * test_table.jsonl cannot be read: the baseline has format 2, *"]
    )

    header, *lines = before.splitlines()
    older = [json.loads(line) for line in lines]
    for line in older:
        line["stats"] = {name: line["stats"][name] for name in ("mean", "std")}
        for name in ("sketch", "digest", "weights"):
            line.pop(name, None)
    text = b"".join(json.dumps(line).encode() + b"\n" for line in older)
    project.table.write_bytes(header + b"\n" + text)
    project.run().assert_outcomes(passed=1)
    project.run(change="net.head.weight.data *= 1.5").assert_outcomes(failed=1)


# --- maps without numbers -----------------------------------------------------------------------

MODEL = """
@pytest.fixture
def model():
    return nn.Sequential(nn.Conv2d(3, {width}, 3), nn.ReLU())
"""
SHAPES = """
@pytest.mark.capture("**"{keep})
def test_{name}({shapes}model, feature_maps, feature_snapshot):
    model(torch.ones(1, 3, 8, 8))
    assert feature_maps == feature_snapshot
"""


def test_shapes_are_compared_where_there_are_no_values(write, pytester):
    keeps = {"values": "", "stats": ', keep="stats"', "shapes": ', keep="shapes"'}
    tests = [
        SHAPES.format(name=name, keep=keep, shapes="shapes_only, ") for name, keep in keeps.items()
    ]

    def run(width, *arguments):
        write(MODEL.format(width=width) + "".join(tests))
        # Fake tensors load parts of torch that a process loads once.
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments)

    run(4, "--snapshot-update").assert_outcomes(passed=3)
    result = run(5)
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(
        ["E * assert 0 changed first: shape 1×5×6×6, the baseline has 1×4×6×6"] * 3
    )
    run(4).assert_outcomes(passed=3)


def test_a_run_without_numbers_does_not_pass_for_one_that_has_them(write, pytester):
    def run(keep, *arguments):
        write(MODEL.format(width=4) + SHAPES.format(name="table", keep=keep, shapes=""))
        return pytester.runpytest("-p", "no:cacheprovider", *arguments)

    run("", "--snapshot-update")
    result = run(', keep="shapes"')
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E * assert 0 changed first: numbers none, the baseline has some",
            'E * why: no values of it are kept any more (keep="shapes", or shapes_only)',
        ]
    )


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "xdist"])
def test_what_an_older_baseline_lacks_is_told_once_and_an_update_writes_it(
    write, pytester, workers
):
    def run(keep, *arguments):
        tests = [SHAPES.format(name=name, keep=keep, shapes="") for name in ("one", "two")]
        write(MODEL.format(width=4) + "torch.manual_seed(0)\n" + "".join(tests))
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments)

    run(', keep="shapes"', "--snapshot-update").assert_outcomes(passed=2)
    assert "compared in part" not in run(', keep="shapes"').stdout.str()
    result = run("", *workers)
    result.assert_outcomes(passed=2)
    lines = [line for line in result.outlines if line.startswith("test_it.py::")]
    assert sorted(lines) == [
        f"test_it.py::test_{name}: test_{name}.jsonl, 2 of 2 maps: relative L2 change, mean, std, "
        "min, max, rms, zero fraction, NaN count, … and 2 more"
        for name in ("one", "two")
    ]
    result.stdout.fnmatch_lines(
        [
            "*- feature baselines compared in part -*",
            "not both sides hold these numbers; what a baseline lacks, pytest --snapshot-update *",
        ]
    )

    run("", "--snapshot-update", *workers).assert_outcomes(passed=2)
    table = pytester.path / "__snapshots__/test_it/test_one.jsonl"
    assert all("sketch" in json.loads(line) for line in table.read_bytes().splitlines()[1:])
    assert "compared in part" not in run("", *workers).stdout.str()


# --- what went in -------------------------------------------------------------------------------

CAUSE = """
@pytest.fixture
def photo():
    return torch.full((1, 3, 8, 8), {value})

@pytest.mark.capture("conv"{inputs})
def test_table(photo, feature_maps, feature_snapshot):
    torch.manual_seed(0)
    net = nn.Sequential(nn.ReLU(), nn.Conv2d(3, 4, 3))
    if {changed}:
        net[1].forward = lambda x: 2 * nn.functional.conv2d(x, net[1].weight, net[1].bias)
    feature_maps.attach(net, "1"{inputs})
    net(photo{temporary})
    assert feature_maps == feature_snapshot
""".replace('@pytest.mark.capture("conv"{inputs})\n', "")


@pytest.mark.parametrize(
    ("options", "change", "why"),
    [
        ({}, {"value": "0.5"}, "the model's input is not the baseline's"),
        (
            {},
            {"changed": "True"},
            "same weights, same input of the model: its code changed, or that of a layer before it",
        ),
        (
            {"inputs": ", inputs=True"},
            {"changed": "True"},
            "same weights and same input: its code changed",
        ),
        (
            {"temporary": " * 1.0"},
            {"changed": "True"},
            "same weights: its code or its input changed",
        ),
    ],
)
def test_the_cause_follows_from_what_went_in(write, pytester, options, change, why):
    def run(*arguments, **fields):
        usual = {"value": "0.25", "changed": "False", "inputs": "", "temporary": ""}
        write(CAUSE.format(**usual | options | fields))
        return pytester.runpytest("-p", "no:cacheprovider", *arguments)

    run("--snapshot-update").assert_outcomes(passed=1)
    result = run(**change)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"E * why: {why}"])
