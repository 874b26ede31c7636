"""A canary's stages, read apart and never pooled, each against the guardrails that act."""

from msgspec import Struct

from greenlane.experiments.guardrails import Watch


class StageReadout(Struct, frozen=True, kw_only=True):
    """One stage: the units of both arms, and what each guardrail sees in them."""

    experiment: str
    share_ppm: int
    control: int
    treatment: int
    rails: dict[str, Watch]

    @property
    def breached(self) -> list[str]:
        return [name for name, watch in self.rails.items() if watch.pause]


class CanaryReadout(Struct, frozen=True, kw_only=True):
    """What a model did with traffic of its own."""

    model: str
    stages: tuple[StageReadout, ...] = ()

    @property
    def units(self) -> int:
        """With the model, in all stages: a count, no estimate is pooled."""
        return sum(stage.treatment for stage in self.stages)

    @property
    def breach(self) -> str:
        """The first guardrail that was breached, and where; "" where none was."""
        found = [(stage, name) for stage in self.stages for name in stage.breached]
        return f"{found[0][1]} in {found[0][0].experiment}" if found else ""
