"""Classify pictures and volumes with a trained network, and show where it looks."""

from wrn3d.training.classifier import Classifier as Classifier
