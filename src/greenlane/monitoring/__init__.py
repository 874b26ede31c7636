"""What is watched: the world, the model and the log, and who is told when one of them moves.

cusum.py        how long until a false alarm, how long until a true one
streams.py      many series of events held against their expectation, with thresholds for their number
expected.py     what a decision expected of the attempt it let pass
traffic.py      approval, outages and missing answers, by issuer, route and network
drift.py        features and probabilities against fixed bins
calibration.py  matured observed over expected; quality without labels beside early reports
attacks.py      card testing: which cells, and the rule to stop them
logs.py         does the log say enough to be evaluated?
counts.py       minute counts by response code, where that is all there is
alarms.py       what a monitor says       incidents.py  alarms that are one thing
notices.py      who hears of it           monitors.py   all of it as one fold
"""
