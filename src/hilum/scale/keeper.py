"""Between the workers of one training and the machine of the command: checkpoints that they bring, what they say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hilum.errors import HilumError
from hilum.files import whole_file
from hilum.scale.connect import nodes
from hilum.scale.units import ATTEMPTS, of_the_node


class Keeper:
    """A process on the machine of the command that keeps a stage's checkpoints, and what the workers say."""

    def __init__(self, folder: Path, stage: str) -> None:
        self.folder, self.stage = folder, stage
        self.lines: list[str] = []
        self.refused: HilumError | None = None
        self.seen: dict[str, str] = {}
        self.now: Mapping[str, str] = {}
        self.epoch: int | None = None
        self.tries = 0
        self.reasons: list[str] = []

    def begin(self, now: Mapping[str, str]) -> bytes | None:
        """last.ckpt of the stage, b"" where there is none; None where nothing is to be trained any more.

        now: the names of the nodes of the workers, by their ids.
        """
        lost = sorted({self.now[node] for node in self.now.keys() - {node.id for node in nodes()}})
        if self.now:
            what = f"the node {lost[0]} was lost" if lost else "a worker was killed or crashed"
            self.lines.append(f"{self.stage}: {what}; all go on {self._from()}")
        self.tries = 1 if lost else self.tries + 1  # a lost node is nobody's fault
        if self.tries > ATTEMPTS:
            why = "; ".join(self.reasons[-2:]) or "their processes were killed"
            self.refuse(
                HilumError(
                    f"its workers died {ATTEMPTS} times: {why}",
                    where=f"{self.stage}, {self._from()}",
                    next_step="Look at the nodes' memory and their /tmp/ray/session_latest/logs; what was finished "
                    "is kept.",
                )
            )
        if self.refused is not None:
            return None
        self.now = now
        self.seen.update(now)
        self.lines.append(f"{self.stage}: on {', '.join(now.values())}")
        last = self.folder / "last.ckpt"
        return last.read_bytes() if last.is_file() else b""

    def _from(self) -> str:
        return f"after epoch {self.epoch}" if self.epoch else "from where the stage was begun"

    def keep(self, name: str, data: bytes, epoch: int) -> HilumError | None:
        """Write a checkpoint, whole. The value is what was refused meanwhile, for which the workers are to end."""
        try:
            with whole_file(self.folder / name) as part:
                part.write_bytes(data)
        except OSError as error:
            self.refuse(of_the_node(error))
        if name == "last.ckpt":
            self.epoch, self.tries = epoch, 0
        return self.refused

    def tell(self, line: str) -> None:
        self.lines.append(line)

    def refuse(self, error: HilumError) -> None:
        """The first error for which there is no use in going on."""
        self.refused = self.refused or error

    def wrong(self, reason: str) -> None:
        self.reasons.append(reason)

    def heard(self) -> tuple[list[str], HilumError | None]:
        """What was said since the last time, and what was refused."""
        lines, self.lines = self.lines, []
        return lines, self.refused

    def names(self) -> list[str]:
        """The nodes that had a part in it."""
        return list(self.seen.values())


def first_line(error: BaseException) -> str:
    """The kind of an error and the first line of what it says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
