"""A search that can be interrupted: its trials in a file, one JSON line each, after one that says what was searched."""

import os
from pathlib import Path
from typing import Any

import msgspec

from greenlane.errors import TrainingError


class KeptTrials:
    """The proposals of a seeded search depend on the losses told so far, so remembered losses bring back its state."""

    def __init__(self, path: Path):
        self.path = path
        self._trials: list[tuple[dict[str, float], float]] = []

    def open(self, searched: dict[str, Any]) -> None:
        """Read what is there, or begin; TrainingError where the file is of another search."""
        begins = msgspec.json.encode(searched, order="sorted")
        lines = self.path.read_bytes().split(b"\n")[:-1] if self.path.exists() else []  # the last may be half a line
        if lines and lines[0] != begins:
            raise TrainingError(
                f"{self.path} is of another search", hint="the same data, family and seed go on; else name another file"
            )
        trials = [msgspec.json.decode(line) for line in lines[1:]]
        self._trials = [(trial["parameters"], trial["log_loss"]) for trial in trials]
        self.path.write_bytes(b"".join(line + b"\n" for line in lines or [begins]))

    def loss_of(self, parameters: dict[str, float], *, number: int) -> float | None:
        """The loss of the search's trial of this number, counted from 0; None where it was not reached."""
        if number >= len(self._trials):
            return None
        remembered, loss = self._trials[number]
        if remembered != parameters:
            raise TrainingError(
                f"trial {number} in {self.path} has other parameters", hint="of another Optuna version? begin again"
            )
        return loss

    def keep(self, parameters: dict[str, float], loss: float) -> None:
        """Durable when this returns."""
        with self.path.open("ab") as file:
            file.write(msgspec.json.encode({"parameters": parameters, "log_loss": loss}) + b"\n")
            file.flush()
            os.fsync(file.fileno())
