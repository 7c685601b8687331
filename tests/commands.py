"""`hilum` in processes of its own that begin at once: forked from one that has imported what the commands import.

A Python that is started anew imports torch first, which takes longer than most of what tests ask of a command.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

MAIN = "from hilum.cli.app import main; main()"
# Drawing a page takes longer than a small training.
WITHOUT_PAGES = f"""
from hilum.training import train
train.write_report = lambda run: (run / "report.html").write_text("")
{MAIN}
"""
_HEAVY = ("hilum.cli.app", "hilum.training.search", "hilum.explain.run", "hilum.serve.app", "hilum.serve.dicom.node")
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(list(_HEAVY))


class Started:
    """A command at work; stdout and stderr are the files to which it writes."""

    def __init__(self, words: Sequence[str], code: str, cwd: Path, env: Mapping[str, str], folder: Path) -> None:
        self.stdout, self.stderr = folder / "stdout", folder / "stderr"
        self.stdout.touch()
        self.process = _processes.Process(
            target=_begin, args=(list(words), code, str(cwd), dict(env), str(self.stdout), str(self.stderr))
        )
        self.process.start()
        assert self.process.pid is not None
        self.pid: int = self.process.pid

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self, seconds: float = 300.0) -> int:
        """The exit status, minus the signal where one ended it."""
        self.process.join(seconds)
        status = self.process.exitcode
        assert status is not None, f"still at work after {seconds} s: {self.said()}"
        return status

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def first_lines(self, count: int = 1, seconds: float = 120.0) -> list[str]:
        """The first whole lines of standard output, waited for."""
        for _ in range(int(seconds / 0.01)):
            *lines, _ = self.stdout.read_text().split("\n")
            if len(lines) >= count:
                return lines[:count]
            assert self.poll() is None, f"it ended: {self.said()}"
            self.process.join(0.01)
        raise AssertionError(f"no {count} lines after {seconds} s: {self.said()}")

    def said(self) -> str:
        """All that was written on standard error."""
        return self.stderr.read_text() if self.stderr.exists() else ""


@contextmanager
def started(
    words: Sequence[str], *, code: str = MAIN, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Iterator[Started]:
    """A command at work while the block runs; one that did not end by itself is killed then.

    words: without `hilum`. code: what is run with the words as sys.argv[1:]. env: laid over this process's.
    """
    with tempfile.TemporaryDirectory(prefix="hilum-command-") as folder:
        command = Started(words, code, cwd or Path.cwd(), {**os.environ, **(env or {})}, Path(folder))
        try:
            yield command
        finally:
            command.kill()
            command.wait(30)


def hilum(
    *words: str, code: str = MAIN, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """What a command said, and its exit status."""
    with started(words, code=code, cwd=cwd, env=env) as command:
        status = command.wait()
        return subprocess.CompletedProcess(list(words), status, command.stdout.read_text(), command.said())


def _begin(words: list[str], code: str, cwd: str, env: dict[str, str], stdout: str, stderr: str) -> None:
    """In the new process: all that the start of a Python would have set."""
    # A shell starts what it puts in the background with Ctrl-C ignored, and the tests may have been started so.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for descriptor, file in ((1, stdout), (2, stderr)):
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.argv = ["hilum", *words]
    try:
        exec(compile(code, "<command>", "exec"), {"__name__": "__main__"})
    finally:
        atexit._run_exitfuncs()  # multiprocessing leaves them out
