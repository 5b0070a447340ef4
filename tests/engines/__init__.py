"""The engines of TidalCycles and Strudel, behind one function, and a generator of what both can be asked."""
