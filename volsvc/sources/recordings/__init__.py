"""Recordings as people have them: files, folders and pipes of ticks or bars.

- `recording`: a file, a pipe or many files of ticks as one stream; `joining` merges files in time.
- `bars`: the bars of files, by symbol.
- `ticks`, `row_fields`: ticks in the rows of a table; `messages`: those in messages of venues.
- `tick_rows`: rows as columns, with their places and faults; `lateness`: ticks whose times go back.
- `paths`, `file_names`, `symbols`: which files there are, and the symbols of files and exchanges.
- `summary`: what was read.
- `tables`: one file as blocks of rows, whatever its format.
"""
