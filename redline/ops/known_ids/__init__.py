"""known_ids(ids_T, limit) -> ids_T: the ids below `limit`, and 0 in place of the others.

For a table that has rows for a part of the vocabulary only. Both are int32; the result is new.
"""
