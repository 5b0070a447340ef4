"""Inputs of every kind for every reader of files, texts and messages, each within limits of time and memory.

`python -m campaign --help`, in the folder tests, tells the options; `make campaign` calls it.
"""
