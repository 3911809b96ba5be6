"""Files that are whole and have one owner, formats of rows, and answers of others that are bounded.

- `disk`: files replaced or extended as a whole, and locks.
- `row_formats`: rows as CSV, NDJSON and Parquet.
- `bodies`: bodies of bounded size, and JSON of an expected form.
"""
