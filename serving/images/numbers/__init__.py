"""Numbers: segmentation of images of several digits. Imports the modules of `images` above it; none imports it."""
