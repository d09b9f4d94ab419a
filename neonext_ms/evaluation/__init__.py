"""How good a network is: accuracy over a validation split, on one device or many."""
