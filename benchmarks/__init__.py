"""How fast the system is, beside the limit of what it stands on: `python -m benchmarks`.

Each row of the table is a module, which says what it measures and against what.
"""

import os

# Servers are started while channels are open, and end before them: gRPC would look into every
# fork, and tell of every connection that a server has ended.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
