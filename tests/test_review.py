"""Deciding what waits for review: the console script, and what it writes."""

import io
import itertools
import json
import shutil
import stat
import sys
from pathlib import Path

import pytest
from waiting import AFTER, BEFORE, KEYS, TEST, Project, drawn, table

from pytest_featuremaps import cli, disk
from pytest_featuremaps.baseline import table_files
from pytest_featuremaps.review import deciding, folder, table_lines
from pytest_featuremaps.review.records import Map


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.chdir(tmp_path)
    return Project(tmp_path)


@pytest.fixture
def waiting(project):
    """A table and a picture that wait for review."""
    return project.with_results()


def test_nothing_waits(project, capsys):
    assert cli.main(["list"]) == cli.DONE
    assert capsys.readouterr().out == "Nothing waits for review.\n"
    assert cli.main(["accept"]) == cli.NOTHING
    assert capsys.readouterr().err == "Nothing waits for review.\n"


def test_the_list(waiting, capsys):
    assert cli.main(["list"]) == cli.LEFT
    table_id, picture_id = (one.id for one in waiting.left())
    assert capsys.readouterr().out.splitlines() == [
        TEST,
        f"  {table_id}  test_a.jsonl",
        "    conv1: moved (its weights changed)",
        "    conv2: moved",
        "    conv3: moved",
        f"  {picture_id}  test_a[conv1].png",
        "    conv1: 1 of 2 channels differs (its weights changed)",
        f"    {folder.read(waiting.output)[1].folder / 'update.png'}",
        "4 feature maps of 1 test wait for review.",
    ]


NONE = "Nothing matches {}; 4 feature maps wait for review.\n"


@pytest.mark.parametrize("command", ["list", "review", "accept", "reject", "report"])
def test_filters_that_nothing_matches(waiting, capsys, command):
    assert cli.main([command, "-k", "test_new"]) == cli.NOTHING
    said = capsys.readouterr()
    assert said.out + said.err == NONE.format("-k test_new")
    assert cli.main([command, TEST, "-k", "a", "--layer", "x\x1b"]) == cli.NOTHING
    said = capsys.readouterr()
    assert said.out + said.err == NONE.format(f"{TEST} -k a --layer x\\x1b")
    assert len(waiting.left()) == 2
    assert not (waiting.root / "featuremaps.html").exists()


def test_the_model_itself_is_called_so(project, capsys):
    project.leave(maps=(Map(".", "changed", "moved", ".", "."),))
    cli.main(["list"])
    assert "    the model (.): moved (its weights changed)\n" in capsys.readouterr().out


def test_the_list_for_scripts(waiting, capsys):
    cli.main(["list", "--json", "--layer", "conv2"])
    (one,) = json.loads(capsys.readouterr().out)
    assert one["test"] == TEST
    assert one["layers"] == ["conv2"]
    assert json.loads(Path(one["record"]).read_bytes())["id"] == one["id"]


def test_accepting_all_writes_what_an_update_would(waiting, capsys):
    assert cli.main(["accept"]) == cli.DONE
    assert waiting.path().read_bytes() == AFTER
    assert waiting.path("test_a[conv1].png").read_bytes() == drawn(2)
    assert not waiting.output.exists()
    assert capsys.readouterr().out.splitlines() == [
        "accepted tests/__snapshots__/test_it/test_a.jsonl (conv1, conv2, conv3)",
        "accepted tests/__snapshots__/test_it/test_a[conv1].png (conv1)",
    ]


def test_a_line_is_accepted_alone_and_the_others_follow(waiting):
    assert cli.main(["accept", "--layer", "conv2"]) == cli.DONE
    mixed = table({"conv1": 0.0, "conv2": 1.0, "conv3": 0.0})
    assert waiting.path().read_bytes() == mixed
    assert [one.key for one in waiting.left()[0].pending] == ["conv1", "conv3"]
    assert cli.main(["accept", "--layer", "conv3"]) == cli.DONE
    assert waiting.path().read_bytes() == table({"conv1": 0.0, "conv2": 1.0, "conv3": 1.0})
    assert cli.main(["accept"]) == cli.DONE
    assert waiting.path().read_bytes() == AFTER  # with its header, now that all is accepted


def test_a_rejected_line_stays_as_it_was(waiting):
    assert cli.main(["reject", "--layer", "conv1"]) == cli.DONE
    assert waiting.path().read_bytes() == BEFORE
    assert len(waiting.left()) == 1  # the picture had no other map
    cli.main(["accept"])
    assert waiting.path().read_bytes() == table({"conv1": 0.0, "conv2": 1.0, "conv3": 1.0})
    assert waiting.path("test_a[conv1].png").read_bytes() == drawn(1)


def test_a_dry_run_changes_nothing(waiting, capsys):
    for command in ("accept", "reject"):
        assert cli.main([command, "--dry-run"]) == cli.DONE
    assert waiting.path().read_bytes() == BEFORE
    assert len(waiting.left()) == 2
    assert f"would accept {waiting.left()[0].baseline} (" in capsys.readouterr().out


def names_of(project):
    table_id = project.left()[0].id
    return {
        "id": ([table_id], {"conv1", "conv2", "conv3"}),
        "id and layer": ([f"{table_id}:conv3"], {"conv3"}),
        "two": ([f"{table_id}:conv3", f"{table_id}:conv1"], {"conv1", "conv3"}),
        "test": ([TEST], set(KEYS)),
        "file": (["tests/test_it.py"], set(KEYS)),
        "folder": (["tests/"], set(KEYS)),
        "text": (["-k", "IT.py"], set(KEYS)),
        "pattern": (["-k", "*::test_?", "--layer", "conv[1]*"], set()),
        "layers": (["--layer", "*v2"], {"conv2"}),
        "no test": (["-k", "other"], set()),
    }


@pytest.mark.parametrize("place", range(10))
def test_what_a_name_means(waiting, capsys, place):
    arguments, keys = list(names_of(waiting).values())[place]
    cli.main(["list", "--json", *arguments])
    chosen = json.loads(capsys.readouterr().out)
    assert {key for one in chosen if one["kind"] == "table" for key in one["layers"]} == keys


def test_a_name_that_means_nothing(waiting, capsys):
    assert cli.main(["accept", "0000000000"]) == cli.NOTHING
    said = "Nothing that waits for review is called 0000000000: see pytest-featuremaps list.\n"
    assert capsys.readouterr().err == said
    assert waiting.path().read_bytes() == BEFORE


def test_a_baseline_that_has_changed_since_is_not_overwritten(waiting, capsys):
    other = table(dict.fromkeys(KEYS, 5.0))
    waiting.store(other)
    assert cli.main(["accept"]) == cli.LEFT
    assert waiting.path().read_bytes() == other
    assert waiting.path("test_a[conv1].png").read_bytes() == drawn(2)  # the rest is done
    assert [one.kind for one in waiting.left()] == ["table"]
    assert capsys.readouterr().out.splitlines()[0] == (
        "refused tests/__snapshots__/test_it/test_a.jsonl: test_a.jsonl is not the baseline that "
        "was reviewed, it has changed since: run the test again"
    )
    waiting.path().unlink()
    assert cli.main(["accept"]) == cli.LEFT
    assert "test_a.jsonl is gone since: run the test again" in capsys.readouterr().out


def test_what_was_compared_with_a_revision_is_no_baseline_to_accept(waiting, capsys):
    waiting.leave(revision="main (1a2b3c4)")
    assert cli.main(["list"]) == cli.LEFT
    assert "  test_a.jsonl at main (1a2b3c4)\n" in capsys.readouterr().out
    assert cli.main(["accept"]) == cli.LEFT
    assert (
        "it was compared with the code of main (1a2b3c4), not with a baseline, so that there is "
        "nothing to accept"
    ) in capsys.readouterr().out
    assert waiting.path().read_bytes() == BEFORE


def test_what_was_compared_with_a_revision_is_there_to_look_at(waiting, monkeypatch, capsys):
    waiting.leave(revision="main (1a2b3c4)")
    cli.main(["list"])
    assert capsys.readouterr().out.splitlines()[-1] == (
        "1 feature map of 1 test waits for review; "
        "3 feature maps of 1 test to look at, with nothing to accept."
    )
    assert walk(monkeypatch, "a") == cli.LEFT
    said = capsys.readouterr().out
    assert "[1/1]" in said
    assert said.splitlines()[-1] == "3 feature maps of 1 test to look at, with nothing to accept."
    assert walk(monkeypatch, "a") == cli.LEFT
    assert capsys.readouterr().out == (
        "3 feature maps of 1 test to look at, with nothing to accept.\n"
    )


def test_what_an_update_has_written_already_is_done(waiting):
    waiting.store(AFTER)
    assert cli.main(["accept"]) == cli.DONE
    assert waiting.path().read_bytes() == AFTER
    assert not waiting.output.exists()


def test_a_new_baseline(project):
    project.leave(None, maps=tuple(Map(key, "added", "new", None, key) for key in KEYS))
    assert cli.main(["accept", "--layer", "conv1"]) == cli.DONE
    assert project.path().read_bytes() == table({"conv1": 1.0}, {"torch": "3"})
    assert cli.main(["accept"]) == cli.DONE
    assert project.path().read_bytes() == AFTER


def test_a_broken_baseline_is_replaced_as_a_whole(project, capsys):
    project.store(b"<<<<<<< HEAD\n")
    maps = tuple(Map(key, "added", "new", None, key) for key in KEYS)
    project.leave(b"<<<<<<< HEAD\n", maps=maps, status="unreadable")
    assert cli.main(["accept", "--layer", "conv1"]) == cli.LEFT
    assert "its baseline cannot be read: accept the whole table" in capsys.readouterr().out
    assert cli.main(["accept"]) == cli.DONE
    assert project.path().read_bytes() == AFTER


def test_structure_line_by_line(project):
    update = table({"stem": 1.0, "conv2": 1.0, "conv3": 0.0})
    maps = (
        Map("conv1", "removed", "gone", "conv1", None),
        Map("stem", "added", "new", None, "stem"),
        Map("conv2", "changed", "moved", "conv2", "conv2"),
        Map("conv3", "equal", "", "conv3", "conv3"),
    )
    project.store(BEFORE)
    project.leave(update=update, maps=maps)
    cli.main(["accept", "--layer", "stem"])
    stored = table({"conv1": 0.0, "stem": 1.0, "conv2": 0.0, "conv3": 0.0})
    assert project.path().read_bytes() == stored
    cli.main(["accept", "--layer", "conv1"])
    stored = table({"stem": 1.0, "conv2": 0.0, "conv3": 0.0})
    assert project.path().read_bytes() == stored


def test_a_renamed_map_is_accepted_under_either_name(project):
    update = table({"stem": 0.0, "conv2": 1.0, "conv3": 0.0})
    maps = (
        Map("conv1", "removed", "is now stem", "conv1", None, partner="stem"),
        Map("stem", "added", "was conv1", None, "stem", partner="conv1"),
        Map("conv2", "changed", "moved", "conv2", "conv2"),
        Map("conv3", "equal", "", "conv3", "conv3"),
    )
    project.store(BEFORE)
    project.leave(update=update, maps=maps)
    cli.main(["accept", "--layer", "stem"])
    assert project.path().read_bytes() == table({"stem": 0.0, "conv2": 0.0, "conv3": 0.0})
    assert [one.key for one in project.left()[0].pending] == ["conv2"]


def test_lines_that_would_clash_are_told():
    maps = [Map("b", "changed", "", "a", "b"), Map("a", "added", "", None, "a")]
    before, after = table({"a": 0.0}), table({"b": 0.0, "a": 1.0})
    assert table_lines.choose(before, after, maps, {"a", "b"}) == after
    with pytest.raises(table_lines.Clash, match="a would stand in the table twice"):
        table_lines.choose(before, after, maps, {"a"})


def test_line_ends_of_a_checkout_are_kept(project):
    turned = BEFORE.replace(b"\n", b"\r\n")
    project.store(turned)
    project.leave()
    assert cli.main(["accept", "--layer", "conv1"]) == cli.DONE
    mixed = table({"conv1": 1.0, "conv2": 0.0, "conv3": 0.0})
    assert project.path().read_bytes() == mixed.replace(b"\n", b"\r\n")
    assert cli.main(["accept"]) == cli.DONE
    assert project.path().read_bytes() == AFTER.replace(b"\n", b"\r\n")


def test_a_part_of_what_is_no_table_is_refused(project, capsys):
    maps = (Map("conv1", "changed", "", "conv1"), Map("conv2", "changed", "", "conv2"))
    project.store(drawn(1), "test_a[conv1].png")
    project.leave(drawn(1), drawn(2), maps, "test_a[conv1].png")
    project.store(b"noise")
    project.leave(b"noise")
    assert cli.main(["accept", "--layer", "conv2"]) == cli.LEFT
    table, picture = capsys.readouterr().out.splitlines()
    refused = "refused tests/__snapshots__/test_it/{}: a part of it cannot be accepted: {}"
    assert table == refused.format(
        "test_a.jsonl", "line 1 of the baseline is not JSON; the file may have been cut off"
    )
    assert picture == refused.format(
        "test_a[conv1].png", "the baseline is not UTF-8 text, at byte 0"
    )
    assert project.path().read_bytes() == b"noise"
    assert project.path("test_a[conv1].png").read_bytes() == drawn(1)


HOSTILE = {
    "upwards": ("tests/../../test_a.jsonl", "is not the path of a baseline inside"),
    "absolute": ("/test_a.jsonl", "is not the path of a baseline inside"),
    "other ending": ("tests/conftest.py", "is not the path of a baseline inside"),
    "a hook of git": (".git/hooks/post-commit", "is not the path of a baseline inside"),
}


BASELINES = {
    "not of a test": "docs/data.jsonl",
    "beside the test": "tests/test_it/test_a.jsonl",
    "of another file": "tests/__snapshots__/test_that/test_a.jsonl",
    "of another folder": "docs/__snapshots__/test_it/test_a.jsonl",
    "of another test": "tests/__snapshots__/test_it/test_ab.jsonl",
}


@pytest.mark.parametrize("baseline", BASELINES.values(), ids=list(BASELINES))
def test_an_artifact_writes_nothing_but_baselines_of_its_test(project, capsys, baseline):
    path = project.root / baseline
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(BEFORE)
    project.leave(baseline=baseline)
    assert cli.main(["accept"]) == cli.LEFT
    assert path.read_bytes() == BEFORE
    assert capsys.readouterr().out == (
        f"refused {baseline}: {baseline} is not where baselines of {TEST} are kept; where "
        "--snapshot-dirname leads elsewhere, run the test with --snapshot-update\n"
    )


PLACES = {
    "usual": ("tests/test_it.py::test_a", "tests/__snapshots__/test_it/test_a.jsonl"),
    "another": ("tests/test_it.py::test_a", "tests/baselines/of models/test_it/test_a.jsonl"),
    "named": ("tests/test_it.py::test_a", "tests/__snapshots__/test_it/test_a[by name].jsonl"),
    "class": ("tests/test_it.py::A::B::test_a", "tests/__snapshots__/test_it/A.B.test_a.jsonl"),
    "root": ("test_it.py::test_a[x y]", "__snapshots__/test_it/test_a[x y][n].jsonl"),
    "colons": (
        "tests/test_it.py::A::test_a[x::y]",
        "tests/__snapshots__/test_it/A.test_a[x.test_a[x%3A%3Ay].jsonl",
    ),
}


@pytest.mark.parametrize(("test", "baseline"), PLACES.values(), ids=list(PLACES))
def test_where_baselines_of_a_test_are_kept(project, test, baseline):
    (project.root / "test_it.py").touch()
    project.leave(None, test=test, baseline=baseline)
    assert cli.main(["accept"]) == cli.DONE
    assert (project.root / baseline).read_bytes() == AFTER


@pytest.mark.parametrize(("baseline", "reason"), HOSTILE.values(), ids=list(HOSTILE))
def test_a_hostile_artifact_writes_nothing(project, capsys, baseline, reason):
    project.leave(None, baseline=baseline)
    before = sorted(project.root.parent.rglob("*"))
    assert cli.main(["accept"]) == cli.LEFT
    assert reason in capsys.readouterr().out
    assert sorted(project.root.parent.rglob("*")) == before


def test_a_link_out_of_the_project_is_not_followed(project, tmp_path_factory, capsys):
    outside = tmp_path_factory.mktemp("outside") / "test_a.jsonl"
    outside.write_bytes(BEFORE)
    project.path().parent.mkdir(parents=True)
    project.path().symlink_to(outside)
    project.leave()
    assert cli.main(["accept"]) == cli.LEFT
    assert outside.read_bytes() == BEFORE
    baseline = "tests/__snapshots__/test_it/test_a.jsonl"
    assert capsys.readouterr().out == (
        f"refused {baseline}: {baseline} is a link out of {project.root}, to {outside}: run the "
        "test with --snapshot-update, which puts a file in the place of a link\n"
    )


@pytest.mark.parametrize("damage", [b"", b"{}", AFTER[:-9]])
def test_an_update_that_is_not_what_the_run_left(waiting, capsys, damage):
    (folder.read(waiting.output)[0].folder / "update.jsonl").write_bytes(damage)
    cli.main(["accept", "--layer", "conv2"])
    assert "update.jsonl is not what the run left: its digest differs" in capsys.readouterr().out
    assert waiting.path().read_bytes() == BEFORE


def test_an_update_of_another_kind(project, capsys):
    project.store(BEFORE)
    project.leave(update=b"print()\n")
    project.leave(None, b"MZ", (Map("a", "added"),), "test_a[a].png")
    assert cli.main(["accept"]) == cli.LEFT
    said = capsys.readouterr().out
    assert "update.jsonl is not a table: line 1 of the baseline is not JSON" in said
    assert "update.png is not a PNG" in said
    assert project.path().read_bytes() == BEFORE


def test_a_wrong_root_is_told(waiting, tmp_path_factory, monkeypatch, capsys):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    assert cli.main(["accept", "--from", str(waiting.output)]) == cli.LEFT
    assert f"there is no tests/test_it.py in {elsewhere}: run this in " in capsys.readouterr().out
    arguments = ["--from", str(waiting.output), "--root", str(waiting.root)]
    assert cli.main(["accept", *arguments]) == cli.DONE
    assert waiting.path().read_bytes() == AFTER


def test_artifacts_of_several_jobs(waiting, tmp_path, capsys):
    for job in ("one", "two"):
        (tmp_path / "artifacts" / job).mkdir(parents=True)
    waiting.output.rename(tmp_path / "artifacts" / "one" / ".featuremaps")
    waiting.leave(file="test_b.jsonl")
    (waiting.output / "results").rename(tmp_path / "artifacts" / "two" / "anything")
    cli.main(["list", "--from", "artifacts"])
    assert capsys.readouterr().out.splitlines()[-1] == "7 feature maps of 1 test wait for review."
    assert cli.main(["list", "--from", "nowhere"]) == cli.WRONG
    assert capsys.readouterr().err == "--from nowhere: there is no such folder.\n"


def test_it_is_found_from_a_folder_below(waiting, monkeypatch):
    monkeypatch.chdir(waiting.root / "tests")
    assert cli.main(["accept"]) == cli.DONE
    assert waiting.path().read_bytes() == AFTER


@pytest.mark.parametrize("command", ["accept", "review"])
def test_nothing_is_accepted_in_ci(waiting, monkeypatch, capsys, command):
    monkeypatch.setenv("CI", "true")
    assert cli.main([command]) == cli.IN_CI
    assert waiting.path().read_bytes() == BEFORE
    assert capsys.readouterr().err.startswith("This is CI (the environment variable CI is set)")
    assert cli.main(["list"]) == cli.LEFT


def test_a_record_that_cannot_be_read(waiting, capsys):
    path = folder.read(waiting.output)[0].folder / "record.json"
    path.write_bytes(b"{")
    assert cli.main(["list"]) == cli.WRONG
    assert capsys.readouterr().err == f"{path}: it is not JSON; it may have been cut off.\n"


def test_what_cannot_be_written_is_told(waiting, monkeypatch, capsys):
    def fail(path, data):
        raise OSError("the disk is full")

    monkeypatch.setattr(disk, "replace", fail)
    assert cli.main(["accept"]) == cli.LEFT
    assert "refused tests/__snapshots__/test_it/test_a.jsonl: the disk is full" in (
        capsys.readouterr().out
    )
    assert waiting.path().read_bytes() == BEFORE


def test_names_that_a_terminal_would_obey(project, capsys):
    project.store(BEFORE)
    evil = "\x1b[2J\x07evil"
    project.leave(maps=(Map(evil, "changed", evil, evil, evil),), test=f"{TEST}[{evil}]", why=evil)
    for command in (["list"], ["accept", "--dry-run"], ["accept"], ["list", "--json"]):
        cli.main(command)
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err
    assert "\\x1b[2J" in said.out


# --- the walk -------------------------------------------------------------------------------------


def walk(monkeypatch, *answers):
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(answers) + "\n"))
    return cli.main(["review"])


WALKS = {
    "accept all": ("A", {"conv1": 1.0, "conv2": 1.0, "conv3": 1.0}, 2, cli.DONE),
    "one by one": ("a r a", {"conv1": 1.0, "conv2": 0.0, "conv3": 1.0}, 2, cli.DONE),
    "reject all": ("R", {"conv1": 0.0, "conv2": 0.0, "conv3": 0.0}, 1, cli.DONE),
    "skip, accept the rest": ("s A", {"conv1": 0.0, "conv2": 1.0, "conv3": 1.0}, 1, cli.LEFT),
    "the test": ("s T", {"conv1": 0.0, "conv2": 1.0, "conv3": 1.0}, 1, cli.LEFT),
    "back": ("a a b b r a r", {"conv1": 0.0, "conv2": 1.0, "conv3": 0.0}, 1, cli.DONE),
    "stop": ("a q", {"conv1": 1.0, "conv2": 0.0, "conv3": 0.0}, 2, cli.LEFT),
    "the end of the input": ("r", {"conv1": 0.0, "conv2": 0.0, "conv3": 0.0}, 1, cli.LEFT),
    "skip all": ("S", {"conv1": 0.0, "conv2": 0.0, "conv3": 0.0}, 1, cli.LEFT),
    "a slip": ("x AA a R", {"conv1": 1.0, "conv2": 0.0, "conv3": 0.0}, 2, cli.DONE),
    "reject the test": ("a X", {"conv1": 1.0, "conv2": 0.0, "conv3": 0.0}, 2, cli.DONE),
    "undo": ("a a u r a", {"conv1": 1.0, "conv2": 0.0, "conv3": 1.0}, 2, cli.DONE),
    "undo of many": ("u a C u u R", {"conv1": 0.0, "conv2": 0.0, "conv3": 0.0}, 1, cli.DONE),
    "all of the test": ("a T", {"conv1": 1.0, "conv2": 1.0, "conv3": 1.0}, 2, cli.DONE),
    "small letters": ("t x c A", {"conv1": 1.0, "conv2": 1.0, "conv3": 1.0}, 2, cli.DONE),
}


@pytest.mark.parametrize("walked", WALKS.values(), ids=list(WALKS))
def test_a_walk(waiting, monkeypatch, walked):
    answers, values, picture, code = walked
    assert walk(monkeypatch, *answers.split()) == code
    stored = table_files.load(waiting.path().read_bytes())
    assert {line.key: line.stats["mean"] for line in stored.lines} == values
    assert waiting.path("test_a[conv1].png").read_bytes() == drawn(picture)
    assert bool(waiting.left()) == (code == cli.LEFT)


def test_a_walk_accepts_all_of_the_same_cause_and_asks_about_the_others(
    project, monkeypatch, capsys
):
    project.store(BEFORE)
    why = {"conv2": "its weights changed"}
    maps = tuple(Map(key, "changed", "moved", key, key, why=why.get(key, "")) for key in KEYS)
    project.leave(maps=maps, why="same weights and same input: its code changed")
    assert walk(monkeypatch, "C", "R") == cli.DONE
    stored = table_files.load(project.path().read_bytes())
    assert [line.stats["mean"] for line in stored.lines] == [1.0, 0.0, 1.0]
    said = capsys.readouterr().out
    assert "  accepted: 2 feature maps\n" in said
    assert "[2/3]" in said
    assert "[3/3]" not in said  # nor is it rejected with all that follow
    assert "[a]ccept [r]eject [s]kip [u]ndo [q]uit, ? for more > " in said


def test_what_a_walk_shows(waiting, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    walk(monkeypatch, "d", "o", "?", "s", "o", "q")
    said = capsys.readouterr().out
    first = said.split("\n[2/3]")[0]
    picture = folder.read(waiting.output)[1].folder / "update.png"
    assert f"[1/3] {TEST}\n  conv1: moved (its weights changed)\n" in first
    assert f"    {picture}\n" in first
    assert "the whole" in first
    assert "a  accept: it becomes the baseline" in first
    assert "A table has no pictures" in said.split("\n[2/3]")[1]
    assert opened == [picture.as_uri()]
    assert said.endswith("4 feature maps of 1 test wait for review.\n")


def test_what_a_walk_leaves_of_what_was_asked_for(waiting, monkeypatch, capsys):
    identity = waiting.left()[0].id
    monkeypatch.setattr(sys, "stdin", io.StringIO("a\nr\n"))
    assert cli.main(["review", f"{identity}:conv1", f"{identity}:conv2"]) == cli.DONE
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"Nothing else matches {identity}:conv1 {identity}:conv2; "
        "2 feature maps still wait for review."
    )
    monkeypatch.setattr(sys, "stdin", io.StringIO("a\n"))
    assert cli.main(["review", "--layer", "conv3"]) == cli.DONE
    assert capsys.readouterr().out.splitlines()[-1] == (
        "Nothing else matches --layer conv3; 1 feature map still waits for review."
    )


def test_the_page_goes_where_there_is_a_folder(waiting, tmp_path_factory, capsys):
    outside = tmp_path_factory.mktemp("outside")
    places = {
        "left/here/page.html": "",
        str(outside / "page.html"): "",
        str(outside / "new" / "page.html"): f"there is no folder {outside / 'new'}, and only below "
        f"{waiting.root} one is made",
        "left": "this is a folder, name a file in it",
        "tests/test_it.py/page.html": f"{waiting.root / 'tests' / 'test_it.py'} is not a folder",
    }
    for path, reason in places.items():
        assert cli.main(["report", "-o", path]) == (cli.WRONG if reason else cli.DONE)
        said = capsys.readouterr()
        assert said.err == (f"--output {path}: {reason}.\n" if reason else "")
        assert Path(path).is_file() != bool(reason)
    assert not (outside / "new").exists()


def test_an_interrupted_walk_decides_nothing(waiting, monkeypatch, capsys):
    answers = iter(["a"])

    def ask(prompt):
        try:
            return next(answers)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr("builtins.input", ask)
    assert cli.main(["review"]) == cli.LEFT
    assert capsys.readouterr().err == "Interrupted: nothing was accepted or rejected.\n"
    assert waiting.path().read_bytes() == BEFORE
    assert len(waiting.left()) == 2


@pytest.mark.parametrize("json_too", [[], ["--json"]])
@pytest.mark.parametrize("command", ["accept", "reject"])
def test_what_was_decided_before_an_interrupt_is_told_and_stays(
    command, json_too, waiting, monkeypatch, capsys
):
    done = getattr(deciding, command)
    calls = itertools.count()

    def interrupted(*args, **options):
        if next(calls):
            raise KeyboardInterrupt
        done(*args, **options)

    monkeypatch.setattr(deciding, command, interrupted)
    assert cli.main([command, *json_too]) == cli.LEFT
    said = capsys.readouterr()
    assert said.err == "Interrupted; pytest-featuremaps list shows what is left.\n"
    assert said.out.count(f"{command}ed") == 1
    assert len(waiting.left()) == 1


@pytest.mark.parametrize("command", ["list", "report"])
def test_an_interrupt_of_what_decides_nothing_is_no_traceback(
    command, waiting, monkeypatch, capsys
):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.listing, "lines", interrupted)
    monkeypatch.setattr(cli.page, "render", interrupted)
    assert cli.main([command]) == cli.LEFT
    assert capsys.readouterr().err == "Interrupted; pytest-featuremaps list shows what is left.\n"
    assert len(waiting.left()) == 2


# --- the decisions of the page --------------------------------------------------------------------


def approve(project, *decisions, options=()):
    path = project.root / "approvals.json"
    path.write_text(json.dumps({"featuremaps_approvals": 1, "decisions": list(decisions)}))
    return cli.main(["accept", "--approvals", str(path), *options])


def test_approvals_are_carried_out(waiting):
    table_id, picture_id = (one.id for one in waiting.left())
    code = approve(
        waiting,
        {"id": table_id, "decision": "accept", "layers": ["conv1"]},
        {"id": table_id, "decision": "reject", "layers": ["conv2", "conv3"]},
        {"id": picture_id, "decision": "accept", "layers": None},
    )
    assert code == cli.DONE
    assert waiting.path().read_bytes() == table({"conv1": 1.0, "conv2": 0.0, "conv3": 0.0})
    assert waiting.path("test_a[conv1].png").read_bytes() == drawn(2)
    assert not waiting.output.exists()


def test_approvals_are_told_to_scripts_as_one_list(waiting, capsys):
    table_id, picture_id = (one.id for one in waiting.left())
    approve(
        waiting,
        {"id": table_id, "decision": "accept", "layers": ["conv1"]},
        {"id": picture_id, "decision": "reject", "layers": None},
        options=["--json"],
    )
    told = json.loads(capsys.readouterr().out)
    assert [(one["id"], one["layers"], one["outcome"]) for one in told] == [
        (table_id, ["conv1"], "accepted"),
        (picture_id, ["conv1"], "rejected"),
    ]


def test_approvals_of_an_earlier_run(waiting, capsys):
    assert approve(waiting, {"id": "0", "decision": "accept", "layers": None}) == cli.NOTHING
    assert capsys.readouterr().err.startswith("There is no result 0: it is decided already, or ")


NO_APPROVALS = (
    "",
    "[]",
    '{"featuremaps_approvals": 2, "decisions": []}',
    '{"featuremaps_approvals": 1}',
    '{"featuremaps_approvals": 1, "decisions": [{"id": "0", "decision": "burn", "layers": []}]}',
)


@pytest.mark.parametrize("text", NO_APPROVALS)
def test_approvals_that_cannot_be_read(waiting, capsys, text):
    (waiting.root / "approvals.json").write_text(text)
    assert cli.main(["accept", "--approvals", "approvals.json"]) == cli.WRONG
    assert capsys.readouterr().err.startswith("approvals.json: ")


def test_approvals_that_are_not_there(waiting, capsys):
    assert cli.main(["accept", "--approvals", "nosuch.json"]) == cli.WRONG
    assert capsys.readouterr().err == "--approvals nosuch.json: there is no such file.\n"
    assert cli.main(["accept", "--approvals", "tests"]) == cli.WRONG
    assert capsys.readouterr().err == "--approvals tests cannot be read: is a directory.\n"
    assert waiting.path().read_bytes() == BEFORE


def test_outcomes_for_scripts(waiting, capsys):
    waiting.store(table({"conv1": 9.0}))
    assert cli.main(["accept", "--json"]) == cli.LEFT
    refused, accepted = json.loads(capsys.readouterr().out)
    assert (refused["outcome"], accepted["outcome"]) == ("refused", "accepted")
    assert refused["reason"].startswith("test_a.jsonl is not the baseline that was reviewed")
    assert accepted["layers"] == ["conv1"]


def test_the_mode_of_a_new_file_is_that_of_any_other(project):
    project.leave(None, maps=tuple(Map(key, "added", "new", None, key) for key in KEYS))
    cli.main(["accept"])
    (project.root / "other").touch()
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (project.path(), project.root / "other")}
    assert len(modes) == 1


def test_help_documents_the_exit_codes(capsys):
    for arguments in (["--help"], ["accept", "--help"]):
        with pytest.raises(SystemExit, match="0"):
            cli.main(arguments)
        assert "exit codes: 0 done; 1 refused" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(SystemExit, match="2"):
        cli.main([])


def test_it_runs_as_a_module_and_loads_nothing_heavy(pytester, waiting):
    result = pytester.run(sys.executable, "-X", "importtime", "-m", "pytest_featuremaps", "list")
    assert result.ret == cli.LEFT
    loaded = {line.rpartition("|")[2].strip() for line in result.errlines}
    assert "pytest_featuremaps.review.records" in loaded
    assert not loaded & {"torch", "numpy", "PIL", "pytest", "syrupy"}


def test_a_project_that_is_done_leaves_the_one_around_it_alone(waiting, monkeypatch):
    inner = waiting.root / "inner"
    for one in ("tests", ".featuremaps"):
        shutil.copytree(waiting.root / one, inner / one)
    monkeypatch.chdir(inner)
    assert walk(monkeypatch, "A") == cli.DONE
    assert not (inner / ".featuremaps").exists()
    assert len(waiting.left()) == 2
    assert waiting.path().read_bytes() == BEFORE
