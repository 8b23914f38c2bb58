"""PostgreSQL: dumping, reading what a dump holds, loading it in a role that reaches nothing else.

Belongs here: all that only this server and its clients know. Not here: what every engine shares (`databases`).
"""
