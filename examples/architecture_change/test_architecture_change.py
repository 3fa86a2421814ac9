"""What `--featuremaps-against=main` says of each branch, by whole lines."""

import shutil

import make_history
import pytest


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    if shutil.which("git") is None:
        pytest.skip("the history is made with git")
    folder = tmp_path_factory.mktemp("classifier")
    make_history.make(folder)
    return folder


def told(repository, branch, *arguments):
    """The lines of a run that failed."""
    status, output = make_history.compare(repository, branch, *arguments)
    assert status == pytest.ExitCode.TESTS_FAILED, output
    return [
        line.removeprefix("E         ").removeprefix("E       ") for line in output.splitlines()
    ]


def test_a_refactoring_that_changes_nothing_passes_exactly(repository):
    status, output = make_history.compare(repository, "refactoring")
    assert status == pytest.ExitCode.OK, output
    assert "2 comparisons recorded" in output


def test_a_changed_padding_is_found_in_the_right_layer(repository):
    lines = told(repository, "padding")
    (first,) = (line for line in lines if line.startswith("assert units.1.conv changed first: "))
    place = lines.index(first)
    assert lines[place + 1] == "why: same weights and same input: its code changed"


def test_a_renamed_block_is_told_as_renamed(repository):
    assert "assert entry.conv was called stem.conv: stem → entry, 3 maps" in told(
        repository, "renaming"
    )


def test_a_swapped_activation_is_told_as_other_code_of_its_block(repository):
    lines = told(repository, "activation")
    (first,) = (line for line in lines if line.startswith("assert stem changed first: "))
    assert lines[lines.index(first) + 1] == "why: same weights and same input: its code changed"


def test_other_weights_are_told_as_other_weights(repository):
    lines = told(repository, "seed")
    (first,) = (line for line in lines if line.startswith("assert stem.conv changed first: "))
    assert lines[lines.index(first) + 1] == "why: its weights changed"
