"""Statistics of scores: populations, quality measures, operating points. Imports no other room but `errors`."""
