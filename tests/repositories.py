"""A repository in a temporary folder, for tests of what reads one."""

import os
import subprocess
import textwrap
from pathlib import Path


class Repository:
    """A git repository with whatever a test writes into it."""

    def __init__(self, path):
        self.path = Path(path)
        self.path.mkdir(parents=True, exist_ok=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def write(self, files):
        for name, text in files.items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text), encoding="utf-8")

    def change(self, name, old, new):
        text = (self.path / name).read_text(encoding="utf-8")
        assert old in text
        self.write({name: text.replace(old, new)})

    def git(self, *arguments):
        settings = ["-c", "user.name=A Person", "-c", "user.email=person@example.org"]
        ended = subprocess.run(
            ["git", *settings, "-c", "protocol.file.allow=always", *arguments],
            cwd=self.path,
            env=os.environ | {"GIT_CONFIG_GLOBAL": os.devnull},
            capture_output=True,
            text=True,
            check=True,
        )
        return ended.stdout.strip()

    def commit(self, message="more"):
        """Commit everything, and return the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD")
