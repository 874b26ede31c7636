"""Airflow schedules the pipeline: one task per step, all of one run, each safe to be tried again.

Put this file into the DAGs folder of an Airflow 2.4 or later whose workers have `greenlane` and the data directory.
Every task is the command that a person would type, so that nothing of Greenlane has to run inside Airflow.
"""

from datetime import datetime, timedelta

from airflow import DAG
from airflow.operators.bash import BashOperator

DATA = "/var/lib/greenlane"
STEPS = ("set", "report", "fit", "calibrate", "evaluate", "register", "shadow", "gates", "promote")

with DAG(
    dag_id="greenlane_fraud_model",
    schedule="@weekly",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 2, "retry_delay": timedelta(minutes=10)},
) as dag:
    before = None
    for step in STEPS:
        task = BashOperator(
            task_id=step,
            bash_command=f"greenlane pipeline step {step} --data {DATA} --run-id fraud_{{{{ ts_nodash }}}} --json",
            # A breach of the data or a failed gate is a verdict: trying again changes nothing.
            retries=0 if step in ("report", "gates") else 2,
        )
        if before is not None:
            before >> task
        before = task
