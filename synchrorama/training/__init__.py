"""How the shipped networks were made; nothing else in the package imports this."""
