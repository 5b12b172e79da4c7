"""The functions behind `eval`'s public names; each returns a `RunResult`."""
