"""Grooves and models from files and back: MIDI, notation, ASCII, .npz, checkpoints."""
