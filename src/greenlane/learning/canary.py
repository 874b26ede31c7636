"""A canary's stages, read apart and never pooled, each against the guardrails that act."""

from msgspec import Struct


class StageReadout(Struct, frozen=True, kw_only=True):
    """One stage: one experiment of the champion's policy against the same with this model."""

    experiment: str
    share_ppm: int
    """Of all traffic, with the model."""
    state: str
    control: int
    """Payments in the arm of the champion."""
    treatment: int
    breached: tuple[str, ...] = ()
    """Guardrails that paused the model's arm."""
    harms: dict[str, float] = {}
    """By guardrail: how much worse than the control, in the metric's units; negative is better."""


class CanaryReadout(Struct, frozen=True, kw_only=True):
    """What a model did with traffic of its own."""

    model: str
    stages: tuple[StageReadout, ...] = ()

    @property
    def payments(self) -> int:
        """With the model, in all stages: a count; no estimate is pooled."""
        return sum(stage.treatment for stage in self.stages)

    @property
    def breach(self) -> str:
        """The first guardrail that was breached, and where; "" where none was."""
        found = [(stage, name) for stage in self.stages for name in stage.breached]
        return f"{found[0][1]} in {found[0][0].experiment}" if found else ""
