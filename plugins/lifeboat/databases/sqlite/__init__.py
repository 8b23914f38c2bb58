"""SQLite: dumping a file as SQL, and loading it into another.

Belongs here: all that only SQLite knows. Not here: what every engine shares (`databases`).
"""
