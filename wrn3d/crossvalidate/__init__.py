"""Cross-validation: train a script on all folds but one, for each fold, and measure them."""
