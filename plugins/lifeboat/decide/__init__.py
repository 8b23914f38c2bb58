"""Decisions: pure functions of listings, policies and a time that is passed in.

Belongs here: retention, health, what to restore and where, how two databases differ. Not here: anything that reads a
file, a server or the clock (`actions`).
"""
