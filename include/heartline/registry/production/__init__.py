"""The alias ``production``: its moves and their rules, the lock of the movers, signed approvals, and the looks."""
