"""The main job in three minutes: six simulated weeks, models learned from them, and live traffic over HTTP.

story.py    all of it, step by step
caller.py   the merchant's side of the door: asks, sends, tells what happened, does what comes next
outage.py   one route goes down in a busy hour
table.py    what each policy was worth, by true expected value
server.py   `greenlane serve` as another process
"""

from greenlane.demo.story import Shown, run_demo

__all__ = ["Shown", "run_demo"]
