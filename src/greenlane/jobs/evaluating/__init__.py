"""`greenlane evaluate policies`: every policy in its own full world, scored by what its actions were truly worth.

observables.py  what the fraud models see of a payment
contest.py      one policy through one seed of a world
hands.py        what every contestant decides with
contestants.py  the policies, in few lines each
models.py       the models that all share, fitted once for each world
field.py        who takes part
evaluate.py     all of them over all seeds
results.py      figures with intervals, paired differences, the table
"""
