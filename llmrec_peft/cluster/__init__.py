"""One job in numbered parts, done here or by workers on other machines."""
