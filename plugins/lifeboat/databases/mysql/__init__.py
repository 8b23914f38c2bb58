"""MySQL and MariaDB: dumping, reading what a dump holds, loading it as an account that reaches nothing else.

Belongs here: all that only these servers and their clients know. Not here: what every engine shares (`databases`).
"""
