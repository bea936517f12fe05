"""HTCondor DAGMan: `.dag` files and the submit descriptions of their nodes, read and written.

The facts are those of HTCondor 25.14; its `condor_dag_checker` and `condor_submit -dry-run` are the
judges in the tests.
"""

from wms_grpc.gateway.dagman.language import Dagman

__all__ = ["Dagman"]
