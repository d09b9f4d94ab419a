"""What turns gradients into updates: optimisers, schedule, layer decay, moving average, loss scale."""
