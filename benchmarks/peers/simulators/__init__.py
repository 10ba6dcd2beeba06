"""The simulators that are timed, a file each."""
