"""What is felt, as far as a voice, words and a face can tell: the emotion embedding and how a face shows it."""
