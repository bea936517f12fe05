"""How fast the system is, beside the limit of what it stands on: `python -m benchmarks`.

Each row of the table is a module, which says what it measures and against what.
"""

import os

# Servers are started while channels are open; gRPC would look into every fork, and complain.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
