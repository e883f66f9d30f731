"""Episodes and the images rendered from them."""
