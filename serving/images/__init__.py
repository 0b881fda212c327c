"""Images: from any picture to the pixels that a model reads. Imports no other folder."""
