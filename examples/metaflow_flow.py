"""Metaflow schedules the pipeline: one Metaflow step per step of ours, with its result as an artifact.

    METAFLOW_USER=me python examples/metaflow_flow.py run --data DIR --run-name night

Resumable on both sides: Metaflow's own `resume` goes on at the step that failed, and a step of ours that is done is
not done again.
"""

from pathlib import Path

from metaflow import FlowSpec, Parameter, step

from greenlane.jobs.pipeline import PASSED, Recipe, begin, run_steps


class FraudModelFlow(FlowSpec):
    data = Parameter("data", help="The data directory.", required=True)
    run_name = Parameter("run-name", help="Name of the pipeline's run.", required=True)
    family = Parameter("family", help="Family of models.", default="lightgbm")

    def pipeline(self, name):
        """What the step says of itself; a breach or a failed gate ends the flow, with the verdict in its log."""
        recipe = Recipe(family=self.family)
        run = begin(Path(self.data), recipe, name=self.run_name, progress=lambda _done, _all: None)
        (result,) = run_steps(run, [name])
        if result.verdict != PASSED:
            raise RuntimeError(f"{name}: {result.verdict}")
        return {"digest": result.digest, "outputs": result.outputs}

    @step
    def start(self):
        self.done = {"set": self.pipeline("set")}
        self.next(self.report)

    @step
    def report(self):
        self.done["report"] = self.pipeline("report")
        self.next(self.fit)

    @step
    def fit(self):
        self.done["fit"] = self.pipeline("fit")
        self.next(self.calibrate)

    @step
    def calibrate(self):
        self.done["calibrate"] = self.pipeline("calibrate")
        self.next(self.evaluate)

    @step
    def evaluate(self):
        self.done["evaluate"] = self.pipeline("evaluate")
        self.next(self.register)

    @step
    def register(self):
        self.done["register"] = self.pipeline("register")
        self.next(self.shadow)

    @step
    def shadow(self):
        self.done["shadow"] = self.pipeline("shadow")
        self.next(self.gates)

    @step
    def gates(self):
        self.done["gates"] = self.pipeline("gates")
        self.next(self.promote)

    @step
    def promote(self):
        self.done["promote"] = self.pipeline("promote")
        self.next(self.end)

    @step
    def end(self):
        print("champion:", self.done["promote"]["outputs"]["champion"])


if __name__ == "__main__":
    FraudModelFlow()
