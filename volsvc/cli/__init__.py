"""The command line: commands, options and exit codes. The work is in volsvc.commands."""
