"""The demo page: what visitors see, what happens when they press something, and what programs call."""
