"""Values that all other layers use: errors, files, the grid, the groove, kits, tracks, limits."""
