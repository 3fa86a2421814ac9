"""What git is asked: which revision a name means, and the files that belong to it."""

import subprocess

import pytest
from repositories import Repository

from pytest_featuremaps.against import revision
from pytest_featuremaps.against.revision import GitError


@pytest.fixture
def made(tmp_path):
    one = Repository(tmp_path / "project")
    one.write({"net.py": "old\n", "data/kept.txt": "old\n"})
    one.commit("A network")
    return one


def written(made, name, tmp_path):
    """The files of a revision by name, as they are written into a folder."""
    repository = revision.find(made.path)
    folder = tmp_path / "tree"
    repository.write(repository.revision(name).commit, folder, tmp_path / "index")
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


@pytest.mark.parametrize("name", ["main", "HEAD", "v1", "HEAD~0"])
def test_a_revision_is_found_by_any_name(made, name):
    made.git("tag", "--annotate", "v1", "--message", "first")
    found = revision.find(made.path / "data").revision(name)
    assert found.commit == made.git("rev-parse", "HEAD")
    assert str(found) == f"{name} ({found.short})"


def test_a_revision_named_by_its_hash_is_told_once(made):
    commit = made.git("rev-parse", "HEAD")
    assert str(revision.find(made.path).revision(commit[:9])) == commit[:9]


def test_the_files_are_those_of_the_revision(made, tmp_path):
    made.write({"net.py": "new\n", "more.py": "new\n"})
    (made.path / "data/kept.txt").unlink()
    assert written(made, "HEAD", tmp_path) == {"net.py": "old\n", "data/kept.txt": "old\n"}


def test_nothing_in_the_repository_changes(made, tmp_path):
    made.write({"net.py": "staged\n"})
    made.git("add", "net.py")
    made.write({"net.py": "not staged\n"})
    before = made.git("status", "--porcelain"), made.git("worktree", "list")
    written(made, "HEAD", tmp_path)
    assert (made.git("status", "--porcelain"), made.git("worktree", "list")) == before


def test_what_an_archive_leaves_out_is_there(made, tmp_path):
    made.write({".gitattributes": "data/** export-ignore\n"})
    made.commit()
    assert "data/kept.txt" in written(made, "HEAD", tmp_path)


def test_what_a_sparse_checkout_leaves_out_is_there(made, tmp_path):
    made.git("sparse-checkout", "set", "--no-cone", "/net.py")
    assert not (made.path / "data").exists()
    assert "data/kept.txt" in written(made, "HEAD", tmp_path)


def test_inside_a_hook_of_git(made, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other.git"))
    monkeypatch.setenv("GIT_INDEX_FILE", "index.lock")
    assert revision.find(made.path).top == made.path


@pytest.fixture
def with_submodule(made, tmp_path):
    """The project with a submodule, which has moved on since."""
    other = Repository(tmp_path / "other")
    other.write({"part.py": "old\n"})
    other.commit()
    made.git("submodule", "--quiet", "add", str(other.path), "vendor/part")
    made.commit("A part")
    made.write({"vendor/part/part.py": "new\n"})
    return made


def test_a_submodule_has_the_files_of_its_own_commit(with_submodule, tmp_path):
    assert written(with_submodule, "HEAD", tmp_path)["vendor/part/part.py"] == "old\n"


def test_changes_in_a_submodule_are_known(with_submodule):
    repository = revision.find(with_submodule.path)
    commit = repository.revision("HEAD").commit
    assert repository.changed_submodules(commit) == ["vendor/part"]
    with_submodule.write({"vendor/part/part.py": "old\n"})
    assert repository.changed_submodules(commit) == []


def test_a_submodule_without_the_commit(with_submodule, tmp_path):
    commit = "1" * 40
    with_submodule.git("update-index", "--cacheinfo", f"160000,{commit},vendor/part")
    with_submodule.git("commit", "--quiet", "--message", "not fetched")
    with pytest.raises(GitError) as caught:
        written(with_submodule, "HEAD", tmp_path)
    assert str(caught.value) == (
        "the submodule vendor/part has no commit 1111111111, which belongs to that revision.\n"
        "Fetch it: git -C vendor/part fetch --all"
    )


def test_a_submodule_that_is_not_checked_out_is_empty_there_too(with_submodule, tmp_path):
    with_submodule.git("submodule", "--quiet", "deinit", "--force", "vendor/part")
    assert "vendor/part/part.py" not in written(with_submodule, "HEAD", tmp_path)


def test_the_checkouts_files(made):
    made.write({".gitignore": "*.bin\n", "new.py": "", "weights.bin": "", "with\nbreak.py": ""})
    (made.path / "data/kept.txt").unlink()
    assert revision.find(made.path).files() == [".gitignore", "net.py", "new.py", "with\nbreak.py"]


# --- what cannot be -----------------------------------------------------------------------------


def refusal(folder, name="main"):
    with pytest.raises(GitError) as caught:
        revision.find(folder).revision(name)
    return str(caught.value)


def test_an_unknown_revision(made):
    made.git("update-ref", "refs/remotes/origin/next", "HEAD")
    assert refusal(made.path, "next") == (
        "git knows no revision 'next'.\nDid you mean origin/next?"
    )
    assert refusal(made.path, "mian") == "git knows no revision 'mian'.\nDid you mean main?"
    assert refusal(made.path, "a" * 40) == (
        f"git knows no revision {'a' * 40!r}.\n`git log --all` lists them."
    )


@pytest.mark.parametrize("name", ["", "--all", "HEAD:net.py", "main..HEAD"])
def test_what_is_no_commit(made, name):
    assert refusal(made.path, name).startswith(f"git knows no revision {name!r}.\n")


def test_a_shallow_clone(made, tmp_path):
    made.write({"net.py": "newer\n"})
    made.commit()
    clone = ["git", "clone", "--quiet", "--depth=1", made.path.as_uri(), str(tmp_path / "clone")]
    subprocess.run(clone, check=True)
    assert refusal(tmp_path / "clone", "HEAD~1") == (
        "git knows no revision 'HEAD~1': this is a shallow clone, which holds the last commits "
        "only.\n"
        "Fetch the whole history: `fetch-depth: 0` for actions/checkout, or "
        "`git fetch --unshallow`."
    )


def test_no_repository(tmp_path):
    assert refusal(tmp_path) == (
        f"{tmp_path} is not in a git repository, so there is no revision of it."
    )


def test_a_repository_that_git_does_not_trust(made):
    (made.path / ".git/HEAD").write_text("broken")
    told = refusal(made.path)
    assert told.startswith(f"{made.path} is not in a git repository")


def test_a_bare_repository(made, tmp_path):
    made.git("clone", "--quiet", "--bare", ".", str(tmp_path / "bare.git"))
    assert refusal(tmp_path / "bare.git") == (
        f"git cannot tell which repository {tmp_path / 'bare.git'} is in: "
        "fatal: this operation must be run in a work tree"
    )


def test_no_git(made, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert refusal(made.path) == "git is needed for it, and there is no git on the PATH."
