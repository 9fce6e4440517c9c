"""How dependence flows through operations: which elements a value rests on, forwards and backwards."""
