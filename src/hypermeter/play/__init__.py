"""The playing engine: NumPy alone."""
