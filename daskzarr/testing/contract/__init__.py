"""What every store keeps to, as tests to inherit: prove a store of your own with a few lines."""

from daskzarr.testing.contract.offer import PROTOCOLS, needs
from daskzarr.testing.contract.store_contract import StoreContract

__all__ = ["PROTOCOLS", "StoreContract", "needs"]
