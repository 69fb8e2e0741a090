"""An output's life on disk: may it be made, begun, continued, published.

Holds the recipe, the lease and the ledger. Knows plans and storage; nothing of
schedulers and devices.
"""
