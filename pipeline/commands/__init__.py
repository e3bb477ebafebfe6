"""What each command does once its words are parsed: load, call, print. One module a group of commands.

Only the one object of `--json`, or what a person asked to see, goes to standard output; the rest to standard error.
"""
