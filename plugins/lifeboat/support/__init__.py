"""Support: what Linux and Python lack for the layers above.

Belongs here: child processes, directories, locks, streams, logs, progress, signatures, the
clock. Not here: anything that knows what a backup is.
"""
