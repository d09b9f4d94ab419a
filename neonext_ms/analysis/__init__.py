"""What models cost and how runs went: parameters, multiply-accumulates, curves."""
