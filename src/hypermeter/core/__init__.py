"""Values that everything else is made of: errors, files, the grid, the groove, kits, tracks, limits."""
