"""The rules of the system, pure: no I/O, no gRPC, no SQL, no clock but the one that is given."""
