"""Verbs for people: `greenlane VERB --help` teaches each one."""

import sys

from greenlane.cli.access import keys_app, subjects_app
from greenlane.cli.batch import backfill_, pipeline_app
from greenlane.cli.evaluations import evaluations_app
from greenlane.cli.experiments import experiments_app
from greenlane.cli.learn import evaluate_app, features_app, train_app
from greenlane.cli.models import models_app
from greenlane.cli.monitor import monitor_app
from greenlane.cli.operate import app
from greenlane.cli.shown import err
from greenlane.cli.worlds import simulate_app
from greenlane.errors import GreenlaneError

TRAIN_EXTRA = ("lightgbm", "matplotlib", "optuna")

app.command("backfill")(backfill_)
app.add_typer(features_app, name="features")
app.add_typer(simulate_app, name="simulate")
app.add_typer(train_app, name="train")
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(evaluations_app, name="evaluations")
app.add_typer(pipeline_app, name="pipeline")
app.add_typer(experiments_app, name="experiments")
app.add_typer(monitor_app, name="monitor")
app.add_typer(models_app, name="models")
app.add_typer(keys_app, name="keys")
app.add_typer(subjects_app, name="subjects")


def main() -> None:
    """The command line; an error of ours is told in two lines and exit status 2, not a traceback."""
    try:
        app(prog_name="greenlane")
    except GreenlaneError as error:
        err.print(f"greenlane: {error}", soft_wrap=True)
        sys.exit(2)
    except ModuleNotFoundError as missing:
        if missing.name not in TRAIN_EXTRA:
            raise
        err.print(f"greenlane: {missing.name} is not installed: training and plots need it")
        err.print("  hint: pip install -e '.[train]'")
        sys.exit(2)
