"""Images: decoding of image files, and preprocessing to the input of a model. Imports no other folder."""
