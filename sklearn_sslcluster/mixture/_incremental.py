from ._base import BaseGaussianMixture


class IncrementalMixtureMixin(BaseGaussianMixture):
    pass
