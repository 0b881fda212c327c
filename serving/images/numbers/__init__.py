"""Numbers: several digits on one image. Imports the modules of `images` above it, none of which imports it."""
