"""How fast, how much money: pure decisions with time as an argument, and the one place that awaits them."""
