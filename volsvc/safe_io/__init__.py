"""Files that are whole and have one owner, and answers of others that are bounded.

- `disk`: files replaced or extended as a whole, and locks.
- `bodies`: bodies of bounded size, and JSON of an expected form.
"""
