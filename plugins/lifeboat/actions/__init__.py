"""Actions: one module per verb, each given a `Site`.

Belongs here: the steps of a verb, in order, with their input and output. Not here: Airflow, the terminal and the page
(above), decisions that need no input or output (`decide`).
"""
