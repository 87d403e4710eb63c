from ._balanced_kmeans import BalancedKMeans

__all__ = ["BalancedKMeans"]
