"""What stands before everything else: keys, rates, and bodies that are bounded and strictly read."""
