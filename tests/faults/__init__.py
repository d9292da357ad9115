"""The fault campaign: commits that are killed, starved of disk, snapshotted and cut off, and what they leave behind.

`make faults` runs all of it and prints its figures; `make test` runs a seeded sample. Every fault comes from outside
(strace, signals, snapshots of a disk, an emulator's power): the program that runs on hosts has no hook for tests.
"""
