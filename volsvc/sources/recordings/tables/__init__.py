"""Files and pipes as tables: blocks of rows, in the format that their content tells.

- `table`: one file or pipe; `formats` tells its format and compression, `options` how to read it.
- `blocks`, `arrow_tables`, `json_lines`: rows of CSV, of Parquet and Arrow, of JSON.
- `dialect`, `bar_columns`: separator and names of CSV; names of the columns of bars.
- `columns`: columns as arrays of times, numbers and texts.
- `lines`, `pipes`: lines of text, in steps that never take long.
"""
