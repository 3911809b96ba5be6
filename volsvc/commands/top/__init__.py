"""The `top` command: a daemon in the terminal."""
