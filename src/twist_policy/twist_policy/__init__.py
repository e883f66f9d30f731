"""What decides and bounds a motion: contract, checkpoint, latent policy, action gate."""
