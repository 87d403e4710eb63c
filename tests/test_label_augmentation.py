"""Label augmentation: joint labels, what is read out of them, the identity alone, and estimators as objects."""
